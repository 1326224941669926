"""The rankings behind COCO's numbers, laid out once to be counted under any weights of the images.

When every image counts as often as its integer weight, precision behind a true positive is a
quotient of two weighted counts. The order of what is counted does not depend on the weights, so all
sorting is done here, and each resample needs cumulative sums only.

Each category, area range and IoU threshold has a ranking, of number ``(k * A + a) * T + t``. Lists
go ranking by ranking, each by falling score. Letters: ``K A T`` categories, area ranges and IoU
thresholds, ``L`` rankings, ``D`` detections, ``H`` those that overlap a box, ``G`` ground-truth
boxes, ``B`` boxes to find, ``N`` detections that count by their own area, ``C`` corrections, ``P``
places in the lists of true positives.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from fcos_core.metrics.coco import CategoryMatches, Settings, TrueBoxes
from fcos_core.metrics.coco.ordering import rank_by_score
from fcos_core.metrics.coco.structures import UNKNOWN, category_indices


@dataclass(frozen=True)
class BoxesToFind:
    """Boxes to find, one entry for each area range that a box is in.

    ``image`` is the index of the box's image; ``key`` is the index of its category times the number
    of area ranges, plus that of the range.
    """

    image: Int64[np.ndarray, " B"]
    key: Int64[np.ndarray, " B"]


@dataclass(frozen=True)
class Rankings:
    """The true positives of every ranking, and the detections that count ahead of them.

    Args:
        num_images: number of images of the dataset.
        num_categories: number of scored categories.
        settings: settings of the matching.
        counted: image of each detection whose own area is in the range; these lists are the same
            for all thresholds, so there is one for ``T`` rankings.
        counted_starts: where each of these lists begins.
        corrected: image of each detection that the matching lets count though its own area is
            outside of the range, or lets not count though it is inside.
        correction: 1 for the former, -1 for the latter.
        corrected_starts: where each ranking's list begins.
        true: image of each true positive; each ranking's list ends in a place that belongs to no
            image and holds ``num_images``.
        true_rank: its rank among the detections of its image and category, from 0.
        true_starts: where each ranking's list begins.
        counted_until: end, in ``counted``, of what is not behind the true positive.
        corrected_until: the same in ``corrected``.
        to_find: the boxes to find.
    """

    num_images: int
    num_categories: int
    settings: Settings
    counted: Int64[np.ndarray, " N"]
    counted_starts: Int64[np.ndarray, " KA"]
    corrected: Int64[np.ndarray, " C"]
    correction: Int64[np.ndarray, " C"]
    corrected_starts: Int64[np.ndarray, " L"]
    true: Int64[np.ndarray, " P"]
    true_rank: Int64[np.ndarray, " P"]
    true_starts: Int64[np.ndarray, " L"]
    counted_until: Int64[np.ndarray, " P"]
    corrected_until: Int64[np.ndarray, " P"]
    to_find: BoxesToFind


def boxes_to_find(
    truth: TrueBoxes,
    image_ids: Int64[np.ndarray, " I"],
    category_ids: Int64[np.ndarray, " K"],
    settings: Settings,
) -> BoxesToFind:
    """Choose the boxes that COCO wants found: no crowds, of scored categories.

    ``image_ids`` are those of the whole dataset, rising; ``category_ids`` rise too.
    """
    category = category_indices(truth.category_ids, category_ids)
    is_to_find = ~truth.is_crowd & (category != UNKNOWN)
    box, area = np.nonzero(~settings.is_outside(truth.areas) & is_to_find[:, None])
    return BoxesToFind(
        image=np.searchsorted(image_ids, truth.image_ids[box]),
        key=category[box] * len(settings.area_ranges) + area,
    )


def joined(parts: Sequence[BoxesToFind]) -> BoxesToFind:
    """Join the boxes of blocks with disjoint sets of images; at least one."""
    return BoxesToFind(
        np.concatenate([part.image for part in parts]), np.concatenate([part.key for part in parts])
    )


def rank(
    matches: Iterable[CategoryMatches], to_find: BoxesToFind, num_images: int, settings: Settings
) -> Rankings:
    """Lay out the rankings of all categories, whose matches are read one at a time.

    ``num_images`` counts images without boxes and detections too.
    """
    num_ranges, num_thresholds = len(settings.area_ranges), len(settings.iou_thresholds)
    rankings = [
        ranking for of_category in matches for ranking in _rankings_of(of_category, num_images)
    ]

    def joined_lists(name: str) -> Int64[np.ndarray, " _"]:
        return np.concatenate(
            [np.zeros(0, np.int64), *(getattr(ranking, name) for ranking in rankings)]
        )

    true_lengths = joined_lists("true_lengths")
    counted_starts = _starts(np.array([len(ranking.counted) for ranking in rankings], np.int64))
    corrected_starts = _starts(joined_lists("corrected_lengths"))
    counted_offsets = np.repeat(counted_starts, num_thresholds)
    return Rankings(
        num_images=num_images,
        num_categories=len(rankings) // num_ranges,
        settings=settings,
        counted=joined_lists("counted"),
        counted_starts=counted_starts,
        corrected=joined_lists("corrected"),
        correction=joined_lists("correction"),
        corrected_starts=corrected_starts,
        true=joined_lists("true"),
        true_rank=joined_lists("true_rank"),
        true_starts=_starts(true_lengths),
        counted_until=joined_lists("counted_until") + np.repeat(counted_offsets, true_lengths),
        corrected_until=joined_lists("corrected_until") + np.repeat(corrected_starts, true_lengths),
        to_find=to_find,
    )


@dataclass(frozen=True)
class _RangeRankings:
    """The rankings of one category and area range; ``until`` counts from each list's beginning."""

    counted: Int64[np.ndarray, " N"]
    corrected: Int64[np.ndarray, " C"]
    correction: Int64[np.ndarray, " C"]
    corrected_lengths: Int64[np.ndarray, " T"]
    true: Int64[np.ndarray, " P"]
    true_rank: Int64[np.ndarray, " P"]
    true_lengths: Int64[np.ndarray, " T"]
    counted_until: Int64[np.ndarray, " P"]
    corrected_until: Int64[np.ndarray, " P"]


def _rankings_of(matches: CategoryMatches, num_images: int) -> list[_RangeRankings]:
    order, place, hits = rank_by_score(matches.scores, matches.hits)
    return [
        _rankings_of_range(matches, num_images, order, place, hits, area)
        for area in range(len(matches.num_boxes))
    ]


def _rankings_of_range(
    matches: CategoryMatches,
    num_images: int,
    order: Int64[np.ndarray, " D"],
    place: Int64[np.ndarray, " D"],
    hits: Int64[np.ndarray, " H"],
    area: int,
) -> _RangeRankings:
    detection = matches.hits[hits]
    is_inside = ~matches.is_outside[order, area]
    counts = ~matches.is_ignored[hits, :, area]
    is_true = matches.is_found[hits, :, area] & counts
    correction = counts.astype(np.int64) - is_inside[place[detection], None]
    is_corrected = correction != 0

    # One more row than there are hits: the place that ends each list, with nothing ahead of it.
    one_row = np.ones((1, is_true.shape[1]), np.bool_)
    threshold, hit = np.nonzero(np.concatenate([is_true, one_row]).T)
    corrected_threshold, corrected_hit = np.nonzero(is_corrected.T)
    counted_until = np.append(np.cumsum(is_inside)[place[detection]], 0)
    corrected_until = np.concatenate([np.cumsum(is_corrected, axis=0), 0 * one_row])
    return _RangeRankings(
        counted=matches.image[order[is_inside]],
        corrected=matches.image[detection[corrected_hit]],
        correction=correction[corrected_hit, corrected_threshold],
        corrected_lengths=is_corrected.sum(axis=0),
        true=np.append(matches.image[detection], num_images)[hit],
        true_rank=np.append(matches.rank[detection], 0)[hit],
        true_lengths=is_true.sum(axis=0) + 1,
        counted_until=counted_until[hit],
        corrected_until=corrected_until[hit, threshold],
    )


def _starts(lengths: Int64[np.ndarray, " L"]) -> Int64[np.ndarray, " L"]:
    return np.cumsum(lengths) - lengths
