"""COCO's evaluation of boxes, bit for bit that of pycocotools, at any scale.

:func:`match` works on a block of images, :func:`accumulate` on one category of all blocks at a
time, so the work can be distributed; packed matches take few bytes per detection.
Shapes: ``T R K A M`` are the axes of pycocotools' curves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fcos_core.metrics.coco.accumulation import (
    CategoryMatches,
    Curves,
    accumulate,
    by_category,
)
from fcos_core.metrics.coco.matching import NOTHING, Matches, match
from fcos_core.metrics.coco.ordering import CANONICAL_ORDER, canonical_order
from fcos_core.metrics.coco.packing import PackedMatches, of_category, pack, unpacked
from fcos_core.metrics.coco.structures import (
    AP50_IOU,
    AP75_IOU,
    AREA_NAMES,
    MAX_DETECTIONS,
    METRIC_NAMES,
    SIZE_EDGES,
    SIZE_NAMES,
    DetectedBoxes,
    Settings,
    TrueBoxes,
    xywh_to_xyxy,
    xyxy_to_xywh,
)
from fcos_core.metrics.coco.summary import mean_of_defined, summarize

__all__ = [
    "AP50_IOU",
    "AP75_IOU",
    "AREA_NAMES",
    "CANONICAL_ORDER",
    "MAX_DETECTIONS",
    "METRIC_NAMES",
    "NOTHING",
    "SIZE_EDGES",
    "SIZE_NAMES",
    "CategoryMatches",
    "CocoMetrics",
    "Curves",
    "DetectedBoxes",
    "Matches",
    "PackedMatches",
    "Settings",
    "TrueBoxes",
    "accumulate",
    "by_category",
    "canonical_order",
    "evaluate_boxes",
    "match",
    "mean_of_defined",
    "metrics_of",
    "of_category",
    "pack",
    "summarize",
    "unpacked",
    "xywh_to_xyxy",
    "xyxy_to_xywh",
]


@dataclass(frozen=True)
class CocoMetrics:
    """The twelve numbers by ``METRIC_NAMES``, in 0..1, and -1 where COCO leaves them undefined.

    Args:
        overall: over all categories.
        per_category: by category id.
        curves: the curves whose means these are; categories by rising id.
    """

    overall: dict[str, float]
    per_category: dict[int, dict[str, float]]
    curves: Curves


def evaluate_boxes(
    true_boxes: TrueBoxes,
    detections: DetectedBoxes,
    *,
    category_ids: Sequence[int],
    settings: Settings | None = None,
) -> CocoMetrics:
    """Score detections against ground truth as COCO does.

    Every image that either side names is scored; an image that neither names changes nothing.

    Args:
        true_boxes: ground truth; crowds are regions where detections do not count.
        detections: in the order that decides between equal scores within an image.
        category_ids: the categories that are scored, each once; others are ignored.
        settings: by default COCO's.
    """
    settings = settings or Settings()
    ordered = sorted(category_ids)
    matches = match(true_boxes, detections, np.array(ordered, np.int64), settings)
    return metrics_of(by_category(matches), ordered, settings)


def metrics_of(
    matches: Iterable[CategoryMatches], category_ids: Sequence[int], settings: Settings
) -> CocoMetrics:
    """Turn the matches of all images into numbers; categories by rising id, read one at a time."""
    curves = accumulate(matches, len(category_ids), settings)
    return CocoMetrics(
        overall=summarize(curves, settings),
        per_category={
            category_id: summarize(
                Curves(
                    curves.precision[:, :, [k]], curves.recall[:, [k]], curves.scores[:, :, [k]]
                ),
                settings,
            )
            for k, category_id in enumerate(category_ids)
        },
        curves=curves,
    )
