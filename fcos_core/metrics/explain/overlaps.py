"""Overlaps of detections with boxes of the same image, whatever their categories.

COCO's matching compares within one category at a time; errors and confusions lie between
categories. Letters: ``G`` ground-truth boxes, ``B`` chosen ones, ``D`` chosen detections, ``K``
categories, ``E`` pairs that overlap, ``N`` of anything.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from fcos_core.metrics.coco import DetectedBoxes, Settings, TrueBoxes
from fcos_core.metrics.coco.overlap import Sides, intersecting
from fcos_core.metrics.counting import count_up_in_parts
from fcos_core.metrics.explain.outcomes import ANY_SIZE

UNKNOWN = -1
# Pairs of a detection and a box per step: bounds the memory.
_PAIRS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Overlaps:
    """Pairs that overlap, by detection, then in the order of the boxes.

    Args:
        detection: index into the chosen detections.
        box: row of the ground-truth box.
        iou: of the two.
    """

    detection: Int64[np.ndarray, " E"]
    box: Int64[np.ndarray, " E"]
    iou: Float64[np.ndarray, " E"]

    def chosen(self, which: Bool[np.ndarray, " E"] | Int64[np.ndarray, " N"]) -> "Overlaps":
        """Some of the pairs, by mask or indices."""
        return Overlaps(self.detection[which], self.box[which], self.iou[which])


def category_indices(
    row_categories: Int64[np.ndarray, " N"], category_ids: Int64[np.ndarray, " K"]
) -> Int64[np.ndarray, " N"]:
    """Index of each row's category in the rising ids, ``UNKNOWN`` for other categories."""
    if not len(category_ids):
        return np.full(len(row_categories), UNKNOWN)
    index = np.minimum(np.searchsorted(category_ids, row_categories), len(category_ids) - 1)
    return np.where(category_ids[index] == row_categories, index, UNKNOWN)


def is_ignored_box(truth: TrueBoxes, settings: Settings) -> Bool[np.ndarray, " G"]:
    """Whether COCO ignores a box: crowds, and areas outside of the first area range."""
    low, high = settings.area_ranges[ANY_SIZE]
    return truth.is_crowd | (truth.areas < low) | (truth.areas > high)


def overlapping(
    detections: DetectedBoxes,
    rows: Int64[np.ndarray, " D"],
    truth: TrueBoxes,
    box_rows: Int64[np.ndarray, " B"],
    least: float,
) -> Overlaps:
    """Find the pairs of one image that overlap by ``least`` (more than 0) or more.

    The overlap with a crowd is the share of the detection that lies in it, as in COCO. ``rows`` and
    ``box_rows`` choose detections and boxes.
    """
    by_image = box_rows[np.argsort(truth.image_ids[box_rows], kind="stable")]
    images = truth.image_ids[by_image]
    own_images = detections.image_ids[rows]
    first = np.searchsorted(images, own_images)
    count = np.searchsorted(images, own_images, side="right") - first
    own, true = Sides.of(detections.boxes[rows]), Sides.of(truth.boxes[by_image])
    is_crowd = truth.is_crowd[by_image]
    parts = [Overlaps(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for detection, box in count_up_in_parts(first, count, _PAIRS_AT_ONCE):
        which, iou = intersecting(own, true, is_crowd, detection, box)
        part = Overlaps(detection[which], box[which], iou)
        parts.append(part.chosen(iou >= least))
    return Overlaps(
        np.concatenate([part.detection for part in parts]),
        by_image[np.concatenate([part.box for part in parts])],
        np.concatenate([part.iou for part in parts]),
    )
