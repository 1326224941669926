"""Precision over recall, of each category and on average, from COCO's curves.

For objects of any size and the largest number of detections. Letters: ``R`` recalls, ``T R K A M``
the axes of the curves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from fcos_core.metrics.coco import AP50_IOU, AP75_IOU, Curves, Settings
from fcos_core.metrics.coco.accumulation import UNDEFINED
from fcos_core.metrics.explain.outcomes import ANY_SIZE

CURVE_IOUS = {"iou_50": AP50_IOU, "iou_75": AP75_IOU}


def describe(curves: Curves, category_ids: Sequence[int], settings: Settings) -> dict[str, Any]:
    """Describe the curves for JSON.

    The mean of a curve is its AP: that of ``iou_50`` is AP50, that of ``iou_mean`` AP. The IoU
    thresholds of the settings must include 0.5 and 0.75.

    Returns:
        The recalls, and precision at each, at two IoUs and on average over all; categories without
        boxes to find are left out, and without any the curves over all are empty.
    """
    precision = curves.precision[:, :, :, ANY_SIZE, -1]
    # A category has boxes to find or not, whatever the threshold and the recall.
    defined = np.flatnonzero((precision > UNDEFINED).all(axis=(0, 1)))
    return {
        "recall": list(settings.recall_thresholds),
        "overall": _curves(precision[:, :, defined], settings),
        "per_category": [
            {"category_id": category_ids[k], **_curves(precision[:, :, [k]], settings)}
            for k in defined.tolist()
        ],
    }


def _curves(precision: Float64[np.ndarray, "T R K"], settings: Settings) -> dict[str, list[float]]:
    if not precision.shape[2]:
        return {name: [] for name in (*CURVE_IOUS, "iou_mean")}
    at = {
        name: precision[settings.iou_thresholds.index(iou)].mean(axis=1).tolist()
        for name, iou in CURVE_IOUS.items()
    }
    return at | {"iou_mean": precision.mean(axis=(0, 2)).tolist()}
