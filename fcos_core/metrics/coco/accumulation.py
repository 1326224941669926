"""From matches to COCO's curves: precision at recall, and recall, of one category at a time.

pycocotools computes precision behind every detection, but uses it only where a detection finds a
box. Here only these places are computed, with the same arithmetic: the curves are the same bit for
bit. Letters: ``D`` detections of one category, ``H`` those that overlap a box, ``P`` those that
find one, ``T R K A M`` the axes of the curves: IoU thresholds, recalls, categories, area ranges,
detection limits.

Source: ``cocoeval.py`` of pycocotools 2.0.11.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from fcos_core.metrics.coco.matching import NOTHING, Matches
from fcos_core.metrics.coco.ordering import rank_by_score
from fcos_core.metrics.coco.structures import Settings

UNDEFINED = -1.0


@dataclass(frozen=True)
class Curves:
    """pycocotools' ``precision``, ``recall`` and ``scores``; -1 where there is nothing to find."""

    precision: Float64[np.ndarray, "T R K A M"]
    recall: Float64[np.ndarray, "T K A M"]
    scores: Float64[np.ndarray, "T R K A M"]

    @classmethod
    def undefined(cls, num_categories: int, settings: Settings) -> "Curves":
        """Curves with no defined value."""
        t, r = len(settings.iou_thresholds), len(settings.recall_thresholds)
        a, m = len(settings.area_ranges), len(settings.max_detections)
        return cls(
            np.full((t, r, num_categories, a, m), UNDEFINED),
            np.full((t, num_categories, a, m), UNDEFINED),
            np.full((t, r, num_categories, a, m), UNDEFINED),
        )


@dataclass(frozen=True)
class CategoryMatches:
    """The outcomes of one category's detections, image by image, the best of each first.

    Args:
        scores: scores of the detections.
        image: index of each detection's image among those of the dataset.
        rank: rank of each detection within its image, from 0.
        is_outside: whether its own area is outside of each range.
        hits: detections that overlap a box: indices into ``scores``, rising.
        is_found: whether each of these finds a box.
        is_ignored: whether each of these counts for nothing.
        num_boxes: boxes to find in each area range.
    """

    scores: Float64[np.ndarray, " D"]
    image: Int64[np.ndarray, " D"]
    rank: Int64[np.ndarray, " D"]
    is_outside: Bool[np.ndarray, "D A"]
    hits: Int64[np.ndarray, " H"]
    is_found: Bool[np.ndarray, "H T A"]
    is_ignored: Bool[np.ndarray, "H T A"]
    num_boxes: Int64[np.ndarray, " A"]


def by_category(matches: Matches) -> list[CategoryMatches]:
    """Split matches into one part per category."""
    edges = np.arange(len(matches.num_boxes) + 1)
    bounds = np.searchsorted(matches.category, edges).tolist()
    hit_bounds = np.searchsorted(matches.category[matches.hits], edges).tolist()
    return [
        CategoryMatches(
            scores=matches.scores[first:last],
            image=matches.image[first:last],
            rank=matches.rank[first:last],
            is_outside=matches.is_outside[first:last],
            hits=matches.hits[first_hit:last_hit] - first,
            is_found=matches.found[first_hit:last_hit] != NOTHING,
            is_ignored=matches.is_ignored[first_hit:last_hit],
            num_boxes=num_boxes,
        )
        for first, last, first_hit, last_hit, num_boxes in zip(
            bounds, bounds[1:], hit_bounds, hit_bounds[1:], matches.num_boxes, strict=False
        )
    ]


def accumulate(
    matches: Iterable[CategoryMatches], num_categories: int, settings: Settings
) -> Curves:
    """Compute the curves of categories whose matches, of all images, are read one at a time."""
    curves = Curves.undefined(num_categories, settings)
    for k, of_category in enumerate(matches):
        _put_category(curves, k, of_category, settings)
    return curves


@dataclass(frozen=True)
class _Ranked:
    """Detections of one category by falling score, without those beyond a limit per image.

    ``counts``: detections up to each place, itself included, whose own area is in each range;
    ``place``: of each hit; ``hits``: indices into ``CategoryMatches.hits``.
    """

    scores: Float64[np.ndarray, " D"]
    counts: Int64[np.ndarray, "D A"]
    place: Int64[np.ndarray, " H"]
    hits: Int64[np.ndarray, " H"]


def _put_category(curves: Curves, k: int, matches: CategoryMatches, settings: Settings) -> None:
    if not matches.num_boxes.any():
        return
    order, place, hits = rank_by_score(matches.scores, matches.hits)
    for m, limit in enumerate(settings.max_detections):
        ranked = _rank(matches, order, place, hits, limit)
        for a in np.flatnonzero(matches.num_boxes).tolist():
            _put_range(curves, (k, a, m), matches, ranked, settings)


def _rank(
    matches: CategoryMatches,
    order: Int64[np.ndarray, " D"],
    place: Int64[np.ndarray, " D"],
    hits: Int64[np.ndarray, " H"],
    limit: int,
) -> _Ranked:
    is_within = matches.rank[order] < limit
    within = order[is_within]
    new_place = np.cumsum(is_within) - 1
    hits = hits[matches.rank[matches.hits[hits]] < limit]
    return _Ranked(
        scores=matches.scores[within],
        counts=np.cumsum(~matches.is_outside[within], axis=0),
        place=new_place[place[matches.hits[hits]]],
        hits=hits,
    )


def _put_range(
    curves: Curves,
    at: tuple[int, int, int],
    matches: CategoryMatches,
    ranked: _Ranked,
    settings: Settings,
) -> None:
    """Fill in the curves of one category, area range and limit, for all thresholds."""
    k, a, m = at
    num_boxes = int(matches.num_boxes[a])
    counts = ~matches.is_ignored[ranked.hits, :, a]
    is_true = matches.is_found[ranked.hits, :, a] & counts
    # Behind each hit: how many detections count. Own areas decide for all but the hits themselves.
    by_own_area = ~matches.is_outside[matches.hits[ranked.hits], a]
    correction = np.cumsum(counts.astype(np.int64) - by_own_area[:, None], axis=0)
    num_counted = ranked.counts[ranked.place, a][:, None] + correction
    num_true = np.cumsum(is_true, axis=0)
    recalls = np.array(settings.recall_thresholds)
    for t in range(len(settings.iou_thresholds)):
        chosen = np.flatnonzero(is_true[:, t])
        true = num_true[chosen, t]
        precision, where = precision_at(recalls, true, num_counted[chosen, t], num_boxes)
        is_reached = where < len(chosen)
        reached = where[is_reached]
        curves.recall[t, k, a, m] = true[-1] / num_boxes if len(chosen) else 0.0
        curves.precision[t, :, k, a, m] = precision
        curves.scores[t, :, k, a, m] = 0.0
        curves.scores[t, is_reached, k, a, m] = ranked.scores[ranked.place[chosen[reached]]]
        if len(ranked.scores):  # recall 0 is reached by the first detection, true or not
            curves.scores[t, recalls <= 0, k, a, m] = ranked.scores[0]


def precision_at(
    recalls: Float64[np.ndarray, " R"],
    num_true: Int64[np.ndarray, " P"],
    num_counted: Int64[np.ndarray, " P"],
    num_boxes: int,
) -> tuple[Float64[np.ndarray, " R"], Int64[np.ndarray, " R"]]:
    """Precision at recalls, the best at each recall or beyond.

    Args:
        recalls: rising.
        num_true: true positives up to each true positive, itself included, by falling score.
        num_counted: detections that count, up to each true positive.
        num_boxes: boxes to find, at least 1.

    Returns:
        Precision, 0 where a recall is not reached; and which true positive reaches each recall,
        their number where none does.
    """
    true = num_true.astype(np.float64)
    false = num_counted - true
    precision = true / (false + true + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    where = np.searchsorted(true / num_boxes, recalls, side="left")
    return np.append(precision, 0.0)[where], where
