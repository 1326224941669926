"""What COCO's evaluation takes and what it is set to.

Letters: ``G`` ground-truth boxes, ``D`` detections.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

METRIC_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
AREA_NAMES = ("all", "small", "medium", "large")
MAX_DETECTIONS = (1, 10, 100)
CANONICAL_ORDER = "image_id, -score, category_id, box"


@dataclass(frozen=True)
class TrueBoxes:
    """Ground truth; boxes are ``x, y, width, height`` in pixels of the original image."""

    image_ids: Int64[np.ndarray, "G"]
    category_ids: Int64[np.ndarray, "G"]
    boxes: Float64[np.ndarray, "G 4"]
    areas: Float64[np.ndarray, "G"]
    is_crowd: Bool[np.ndarray, "G"]

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class DetectedBoxes:
    """Detections; boxes as in ``TrueBoxes``. Of equal scores, the first given ranks first."""

    image_ids: Int64[np.ndarray, "D"]
    category_ids: Int64[np.ndarray, "D"]
    boxes: Float64[np.ndarray, "D 4"]
    scores: Float64[np.ndarray, "D"]

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class Settings:
    """What is evaluated at; the defaults are COCO's, computed as pycocotools computes them.

    Args:
        iou_thresholds: a detection finds a box from this overlap on.
        recall_thresholds: where precision is read off.
        area_ranges: of objects, in square pixels, ends included, by ``AREA_NAMES``.
        max_detections: per image and category, rising.
    """

    iou_thresholds: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
    recall_thresholds: tuple[float, ...] = tuple(np.linspace(0.0, 1.0, 101).tolist())
    area_ranges: tuple[tuple[float, float], ...] = (
        (0.0, 1e10),
        (0.0, 32.0**2),
        (32.0**2, 96.0**2),
        (96.0**2, 1e10),
    )
    max_detections: tuple[int, ...] = MAX_DETECTIONS


def canonical_order(detections: DetectedBoxes) -> Int64[np.ndarray, "D"]:
    """Order detections by content alone, so that no tie depends on how they were computed.

    Args:
        detections: in any order.

    Returns:
        Indices that put them into ``CANONICAL_ORDER``.
    """
    x, y, width, height = detections.boxes.T
    # np.lexsort takes its most important key last.
    keys = (height, width, y, x, detections.category_ids, -detections.scores, detections.image_ids)
    return np.lexsort(keys)
