"""Overlaps of detections with boxes of the same image, whatever their categories.

COCO's matching looks at one category at a time; errors and confusions lie between categories.
Letters: ``G`` ground-truth boxes, ``B`` those asked about, ``D`` detections asked about, ``K``
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


def is_ignored_box(truth: TrueBoxes, settings: Settings) -> Bool[np.ndarray, " G"]:
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
