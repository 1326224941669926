"""Overlaps of detections with boxes of the same image, whatever their categories.

COCO's matching compares within one category at a time; errors and confusions lie between
categories. Letters: ``G`` ground-truth boxes, ``B`` chosen ones, ``D`` chosen detections.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int64

from fcos_core.metrics.coco import DetectedBoxes, Settings, TrueBoxes
from fcos_core.metrics.coco.overlap import Overlaps, Sides, intersecting
from fcos_core.metrics.counting import count_up_in_parts
from fcos_core.metrics.explain.outcomes import ANY_SIZE

# Pairs of a detection and a box per step: bounds the memory.
_PAIRS_AT_ONCE = 500_000


def is_ignored_box(truth: TrueBoxes, settings: Settings) -> Bool[np.ndarray, " G"]:
    """Whether COCO ignores a box: crowds, and areas outside of the first area range."""
    return truth.is_crowd | settings.is_outside(truth.areas)[:, ANY_SIZE]


def overlapping(
    detections: DetectedBoxes,
    rows: Int64[np.ndarray, " D"],
    truth: TrueBoxes,
    box_rows: Int64[np.ndarray, " B"],
    least: float,
) -> Overlaps:
    """Find the pairs of one image that overlap by ``least`` (more than 0) or more.

    ``rows`` and ``box_rows`` choose detections and boxes; ``Overlaps.detection`` indexes ``rows``,
    ``Overlaps.box`` the ground truth. The overlap with a crowd is the share of the detection that
    lies in it, as in COCO.
    """
    by_image = box_rows[np.argsort(truth.image_ids[box_rows], kind="stable")]
    images = truth.image_ids[by_image]
    own_images = detections.image_ids[rows]
    first = np.searchsorted(images, own_images)
    count = np.searchsorted(images, own_images, side="right") - first
    own, true = Sides.of(detections.boxes[rows]), Sides.of(truth.boxes[by_image])
    is_crowd = truth.is_crowd[by_image]
    parts: list[Overlaps] = []
    for detection, box in count_up_in_parts(first, count, _PAIRS_AT_ONCE):
        which, iou = intersecting(own, true, is_crowd, detection, box)
        part = Overlaps(detection[which], box[which], iou)
        parts.append(part.chosen(iou >= least))
    found = Overlaps.joined(parts)
    return replace(found, box=by_image[found.box])
