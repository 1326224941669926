"""The confusion matrix of a detector's categories at one score threshold.

Detections with at least that score take boxes in turn, by falling score, of equal scores the first
given: each takes the box of its image that overlaps it most, of any category, among the free boxes
with an IoU of 0.5 or more; of equal IoUs one of its own category, else the first given. So a
detection with the right category may lose its box to a better one with the wrong category, and
then counts as background; COCO's matching never compares across categories.

Boxes that COCO ignores (crowds) are no boxes here. A detection that takes no box but overlaps an
ignored one of its own category by half, as COCO measures it, is ignored. Only the 100 best
detections of each image and category are used.

Letters: ``D`` detections, ``K`` categories, ``C`` cells of the matrix, ``E`` pairs that overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from fcos_core.metrics.coco import AP50_IOU, NOTHING, DetectedBoxes, Matches, Settings, TrueBoxes
from fcos_core.metrics.coco.overlap import Overlaps
from fcos_core.metrics.coco.structures import UNKNOWN, category_indices
from fcos_core.metrics.counting import by_key, ranks_within, run_starts
from fcos_core.metrics.explain.outcomes import ANY_SIZE
from fcos_core.metrics.explain.overlaps import is_ignored_box, overlapping

LEAST_SCORE = 0.5
_NUM_TOP = 20


@dataclass(frozen=True)
class Confusion:
    """Counts that add up: the cells of the matrix that are not empty.

    Args:
        least_score: score threshold of the detections.
        true: index of the boxes' category; ``NOTHING`` for detections of background.
        predicted: index of the detections' category; ``NOTHING`` for missed boxes.
        count: of each cell, sorted by ``true``, then ``predicted``.
        num_ignored: detections that count for nothing.
    """

    least_score: float
    true: Int64[np.ndarray, " C"]
    predicted: Int64[np.ndarray, " C"]
    count: Int64[np.ndarray, " C"]
    num_ignored: int

    def __add__(self, other: "Confusion") -> "Confusion":
        """The counts of both, whose least score must be equal."""
        return _counted(
            self.least_score,
            np.concatenate([self.true, other.true]),
            np.concatenate([self.predicted, other.predicted]),
            np.concatenate([self.count, other.count]),
            self.num_ignored + other.num_ignored,
        )

    def describe(self, category_ids: Sequence[int]) -> dict[str, Any]:
        """Describe totals and the most common confusions, of equal ones by index, for JSON."""
        parts = self._parts()
        boxes = _sums(self.true, self.count, len(category_ids))
        is_confused = np.flatnonzero(parts["confused"])
        top = is_confused[np.argsort(-self.count[is_confused], kind="stable")][:_NUM_TOP]
        per_true = {
            name: _sums(self.true[part], self.count[part], len(category_ids)).tolist()
            for name, part in parts.items()
            if name != "background"
        }
        per_predicted = {
            name: _sums(self.predicted[part], self.count[part], len(category_ids)).tolist()
            for name, part in (
                ("taken_for", parts["confused"]),
                ("background", parts["background"]),
            )
        }
        columns = {"boxes": boxes.tolist(), **per_true, **per_predicted}
        return {
            "iou": AP50_IOU,
            "least_score": self.least_score,
            "boxes": int(boxes.sum()),
            **{name: int(self.count[part].sum()) for name, part in parts.items()},
            "ignored": self.num_ignored,
            "top": [
                {
                    "true": category_ids[true],
                    "predicted": category_ids[predicted],
                    "count": count,
                    "share": count / int(boxes[true]),
                }
                for true, predicted, count in zip(
                    self.true[top].tolist(),
                    self.predicted[top].tolist(),
                    self.count[top].tolist(),
                    strict=True,
                )
            ],
            "per_category": [
                {"category_id": category_id, **{name: n[k] for name, n in columns.items()}}
                for k, category_id in enumerate(category_ids)
            ],
        }

    def cells(self, category_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The cells of the matrix that are not empty, for JSON.

        Returns:
            ``true``, None for detections of background; ``predicted``, None for missed boxes; and
            ``count``.
        """
        ids = [*category_ids, None]  # NOTHING is the last one
        return [
            {"true": ids[true], "predicted": ids[predicted], "count": count}
            for true, predicted, count in zip(
                self.true.tolist(), self.predicted.tolist(), self.count.tolist(), strict=True
            )
        ]

    def _parts(self) -> dict[str, Bool[np.ndarray, " C"]]:
        is_both = (self.true != NOTHING) & (self.predicted != NOTHING)
        return {
            "correct": self.true == self.predicted,
            "confused": is_both & (self.true != self.predicted),
            "missed": self.predicted == NOTHING,
            "background": self.true == NOTHING,
        }


def tally(
    truth: TrueBoxes,
    detections: DetectedBoxes,
    matches: Matches,
    category_ids: Int64[np.ndarray, " K"],
    settings: Settings,
    *,
    least_score: float = LEAST_SCORE,
) -> Confusion:
    """Count the confusions in some images, among detections of ``least_score`` or more."""
    kept = np.flatnonzero(matches.scores >= least_score)
    order = (matches.rows[kept], -matches.scores[kept], matches.image[kept])
    kept = kept[np.lexsort(order)]
    rows, category = matches.rows[kept], matches.category[kept]
    box_category = category_indices(truth.category_ids, category_ids)
    is_known, is_void = box_category != UNKNOWN, is_ignored_box(truth, settings)
    boxes, void = np.flatnonzero(is_known & ~is_void), np.flatnonzero(is_known & is_void)

    pairs = overlapping(detections, rows, truth, boxes, AP50_IOU)
    is_other = box_category[pairs.box] != category[pairs.detection]
    preferred = np.lexsort((is_other, -pairs.iou, pairs.detection))
    taken = _take(pairs.chosen(preferred), matches.image[kept], len(truth))

    in_void = overlapping(detections, rows, truth, void, AP50_IOU)
    is_own = box_category[in_void.box] == category[in_void.detection]
    is_ignored = matches.is_outside[kept, ANY_SIZE]
    is_ignored[in_void.detection[is_own]] = True
    is_ignored &= taken == NOTHING

    is_missed = np.zeros(len(truth), np.bool_)
    is_missed[boxes] = True
    is_missed[taken[taken != NOTHING]] = False
    missed = box_category[is_missed]
    true = np.append(box_category, NOTHING)[taken[~is_ignored]]  # NOTHING is the last one
    return _counted(
        least_score,
        np.concatenate([true, missed]),
        np.concatenate([category[~is_ignored], np.full_like(missed, NOTHING)]),
        np.ones(len(true) + len(missed), np.int64),
        int(is_ignored.sum()),
    )


def _take(
    pairs: Overlaps, image: Int64[np.ndarray, " D"], num_boxes: int
) -> Int64[np.ndarray, " D"]:
    """The box each detection takes; detections of equal rank in their images take theirs together.

    The pairs are sorted by detection, the preferred box first; detections by image, then in turn.
    """
    taken = np.full(len(image), NOTHING, np.int64)
    is_free = np.ones(num_boxes, np.bool_)
    starts = run_starts(pairs.detection)
    lengths = np.diff(np.append(starts, len(pairs.detection)))
    turn = np.repeat(ranks_within(image[pairs.detection[starts]]), lengths)
    for pair in by_key(turn):
        free = pair[is_free[pairs.box[pair]]]
        taking = free[run_starts(pairs.detection[free])]
        taken[pairs.detection[taking]] = pairs.box[taking]
        is_free[pairs.box[taking]] = False
    return taken


def _counted(
    least_score: float,
    true: Int64[np.ndarray, " N"],
    predicted: Int64[np.ndarray, " N"],
    count: Int64[np.ndarray, " N"],
    num_ignored: int,
) -> Confusion:
    """Put equal cells together."""
    order = np.lexsort((predicted, true))
    true, predicted, count = true[order], predicted[order], count[order]
    is_first = np.ones(len(true), np.bool_)
    is_first[1:] = (true[1:] != true[:-1]) | (predicted[1:] != predicted[:-1])
    starts = np.flatnonzero(is_first)
    if len(starts):
        count = np.add.reduceat(count, starts)
    return Confusion(least_score, true[starts], predicted[starts], count, num_ignored)


def _sums(
    index: Int64[np.ndarray, " N"], count: Int64[np.ndarray, " N"], size: int
) -> Int64[np.ndarray, " K"]:
    """Counts per index, without those of ``NOTHING``."""
    sums = np.zeros(size + 1, np.int64)
    np.add.at(sums, index, count)  # NOTHING is the last one
    return sums[:size]
