"""Average precision and recall by the size of the objects, over all categories and of each.

COCO's own numbers stop at AP and AR by area over all categories; its curves hold the others too.
Letters: ``T R K A M`` are the axes of the curves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from fcos_core.metrics.coco import AP50_IOU, AP75_IOU, AREA_NAMES, Curves, Settings, mean_of_defined


def describe(
    curves: Curves,
    num_boxes: Int64[np.ndarray, "K A"],
    category_ids: Sequence[int],
    settings: Settings,
) -> list[dict[str, Any]]:
    """Describe them for JSON, in 0..1, and -1 without boxes to find.

    ``settings`` has COCO's four area ranges; an area on an edge is in both ranges.

    Returns:
        Four rows over all categories, whose ``category_id`` is None, then four of each; AR as AR100
        with the largest number of detections.
    """
    owners: list[tuple[int | None, slice]] = [(None, slice(None))]
    owners += [(category_id, slice(k, k + 1)) for k, category_id in enumerate(category_ids)]
    return [
        {
            "category_id": category_id,
            "area": name,
            "num_objects": int(num_boxes[k, a].sum()),
            **_numbers(curves, k, a, settings),
        }
        for category_id, k in owners
        for a, name in enumerate(AREA_NAMES)
    ]


def _numbers(curves: Curves, k: slice, a: int, settings: Settings) -> dict[str, float]:
    precision = curves.precision[:, :, k, a, -1]
    at = settings.iou_thresholds.index
    return {
        "AP": mean_of_defined(precision),
        "AP50": mean_of_defined(precision[at(AP50_IOU)]),
        "AP75": mean_of_defined(precision[at(AP75_IOU)]),
        "AR100": mean_of_defined(curves.recall[:, k, a, -1]),
    }
