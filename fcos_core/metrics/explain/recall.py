"""Average recall by number of detections per image and by size of the objects.

Letters: ``T K A M`` are the axes of COCO's recall.

Source: Hosang et al., PAMI 2016 (arXiv 1502.05082), in COCO's version: the mean over the IoU
thresholds, of detections per image and category.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from fcos_core.metrics.coco import AREA_NAMES, Curves, Settings, mean_of_defined


def describe(curves: Curves, category_ids: Sequence[int], settings: Settings) -> dict[str, Any]:
    """Describe average recall for JSON, in 0..1, and -1 without boxes to find.

    Returns:
        Over all categories, and of each, by COCO's four area ranges, then by the largest number of
        detections.
    """
    limits = [str(limit) for limit in settings.max_detections]
    return {
        "overall": _table(curves.recall, limits),
        "per_category": [
            {"category_id": category_id, **_table(curves.recall[:, [k]], limits)}
            for k, category_id in enumerate(category_ids)
        ],
    }


def _table(
    recall: Float64[np.ndarray, "T K A M"], limits: Sequence[str]
) -> dict[str, dict[str, float]]:
    return {
        area: {limit: mean_of_defined(recall[:, :, a, m]) for m, limit in enumerate(limits)}
        for a, area in enumerate(AREA_NAMES)
    }
