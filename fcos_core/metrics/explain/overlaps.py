"""Overlaps of detections with boxes of the same image, whatever their categories.

COCO's matching looks at one category at a time; errors and confusions lie between categories.
Letters: ``G`` ground-truth boxes, ``B`` those asked about, ``D`` detections asked about, ``K``
categories, ``P`` pairs, ``E`` pairs that overlap, ``N`` of anything.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64, Int64

from fcos_core.metrics.coco import DetectedBoxes, Settings, TrueBoxes
from fcos_core.metrics.counting import count_up
from fcos_core.metrics.explain.outcomes import ANY_SIZE

UNKNOWN = -1
# Pairs of a detection and a box looked at together.
_PAIRS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Overlaps:
    """Pairs that overlap, by detection, then in the order the boxes were given in.

    Args:
        detection: index into the rows that were asked about.
        box: row of the ground-truth box.
        iou: of the two.
    """

    detection: Int64[np.ndarray, " E"]
    box: Int64[np.ndarray, " E"]
    iou: Float64[np.ndarray, " E"]

    def chosen(self, which: Bool[np.ndarray, " E"] | Int64[np.ndarray, " N"]) -> "Overlaps":
        """Some of the pairs.

        Args:
            which: mask or indices.
        """
        return Overlaps(self.detection[which], self.box[which], self.iou[which])


def category_indices(
    row_categories: Int64[np.ndarray, " N"], category_ids: Int64[np.ndarray, " K"]
) -> Int64[np.ndarray, " N"]:
    """Index of each row's category, ``UNKNOWN`` where it is not among those scored.

    Args:
        row_categories: category ids.
        category_ids: rising.
    """
    if not len(category_ids):
        return np.full(len(row_categories), UNKNOWN)
    index = np.minimum(np.searchsorted(category_ids, row_categories), len(category_ids) - 1)
    return np.where(category_ids[index] == row_categories, index, UNKNOWN)


def is_passed_over(truth: TrueBoxes, settings: Settings) -> Bool[np.ndarray, " G"]:
    """Whether COCO does not ask for a box: crowds, and areas that are outside of the range.

    Args:
        truth: the boxes.
        settings: whose first area range counts.
    """
    low, high = settings.area_ranges[ANY_SIZE]
    return truth.is_crowd | (truth.areas < low) | (truth.areas > high)


def overlapping(
    detections: DetectedBoxes,
    rows: Int64[np.ndarray, " D"],
    truth: TrueBoxes,
    box_rows: Int64[np.ndarray, " B"],
    least: float,
) -> Overlaps:
    """Find the pairs of one image that overlap enough, a bounded number of pairs at a time.

    Of a crowd, the overlap is the share of the detection that lies in it, as in COCO.

    Args:
        detections: of some images.
        rows: of the detections to look at.
        truth: ground truth of these images.
        box_rows: of the boxes to look at.
        least: smallest IoU, itself included; above 0.
    """
    by_image = box_rows[np.argsort(truth.image_ids[box_rows], kind="stable")]
    images = truth.image_ids[by_image]
    own_images = detections.image_ids[rows]
    first = np.searchsorted(images, own_images)
    count = np.searchsorted(images, own_images, side="right") - first
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(0, total, _PAIRS_AT_ONCE)).tolist()
    own = _Sides.of(detections.boxes[rows])
    true = _Sides.of(truth.boxes[by_image])
    is_crowd = truth.is_crowd[by_image]
    parts = [Overlaps(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for begin, end in pairwise([*cuts, len(rows)]):
        detection, box = count_up(first[begin:end], count[begin:end])
        detection += begin
        part = _meeting(own, true, is_crowd, detection, box)
        parts.append(part.chosen(part.iou >= least))
    return Overlaps(
        np.concatenate([part.detection for part in parts]),
        by_image[np.concatenate([part.box for part in parts])],
        np.concatenate([part.iou for part in parts]),
    )


@dataclass(frozen=True)
class _Sides:
    """Where boxes begin and end, and their areas: one array each, which is quicker to gather."""

    left: Float64[np.ndarray, " N"]
    top: Float64[np.ndarray, " N"]
    right: Float64[np.ndarray, " N"]
    bottom: Float64[np.ndarray, " N"]
    area: Float64[np.ndarray, " N"]

    @classmethod
    def of(cls, boxes: Float64[np.ndarray, "N 4"]) -> "_Sides":
        x, y, width, height = np.ascontiguousarray(boxes.T)
        return cls(x, y, width + x, height + y, width * height)


def _meeting(
    own: _Sides,
    true: _Sides,
    is_crowd: Bool[np.ndarray, " B"],
    detection: Int64[np.ndarray, " P"],
    box: Int64[np.ndarray, " P"],
) -> Overlaps:
    """The pairs with a common area; ``bbIou`` of maskApi.c, in its own order of operations."""
    width = np.minimum(own.right[detection], true.right[box])
    width -= np.maximum(own.left[detection], true.left[box])
    beside = np.flatnonzero(width > 0)
    detection, box = detection[beside], box[beside]
    height = np.minimum(own.bottom[detection], true.bottom[box])
    height -= np.maximum(own.top[detection], true.top[box])
    meets = np.flatnonzero(height > 0)
    detection, box = detection[meets], box[meets]
    shared = width[beside][meets] * height[meets]
    area = own.area[detection]
    union = np.where(is_crowd[box], area, area + true.area[box] - shared)
    return Overlaps(detection, box, shared / union)
