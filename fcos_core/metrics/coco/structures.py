"""Ground truth, detections and settings of COCO's evaluation.

Letters: ``G`` ground-truth boxes, ``D`` detections, ``N`` boxes of either kind, ``K`` categories,
``A`` area ranges.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

METRIC_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
SIZE_NAMES = ("small", "medium", "large")
SIZE_EDGES = (32.0**2, 96.0**2)
"""Areas between small, medium and large, in square pixels."""
AREA_NAMES = ("all", *SIZE_NAMES)
AP50_IOU = 0.5
"""IoU from which a detection finds a box, wherever only one threshold is used."""
AP75_IOU = 0.75
MAX_DETECTIONS = (1, 10, 100)
UNKNOWN = -1


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

    def take(self, rows: Int64[np.ndarray, "N"]) -> "TrueBoxes":
        """Return some boxes, in the order of ``rows``."""
        return TrueBoxes(
            self.image_ids[rows],
            self.category_ids[rows],
            self.boxes[rows],
            self.areas[rows],
            self.is_crowd[rows],
        )


@dataclass(frozen=True)
class DetectedBoxes:
    """Detections; boxes as in ``TrueBoxes``. Of equal scores, the first given ranks first."""

    image_ids: Int64[np.ndarray, "D"]
    category_ids: Int64[np.ndarray, "D"]
    boxes: Float64[np.ndarray, "D 4"]
    scores: Float64[np.ndarray, "D"]

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, rows: Int64[np.ndarray, "N"]) -> "DetectedBoxes":
        """Return some detections, in the order of ``rows``."""
        return DetectedBoxes(
            self.image_ids[rows], self.category_ids[rows], self.boxes[rows], self.scores[rows]
        )


@dataclass(frozen=True)
class Settings:
    """Thresholds and ranges; the defaults are COCO's, computed as pycocotools computes them.

    Args:
        iou_thresholds: a detection finds a box from this overlap on.
        recall_thresholds: recalls at which precision is computed.
        area_ranges: areas of objects in square pixels, ends included, by ``AREA_NAMES``.
        max_detections: per image and category, rising.
    """

    iou_thresholds: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
    recall_thresholds: tuple[float, ...] = tuple(np.linspace(0.0, 1.0, 101).tolist())
    area_ranges: tuple[tuple[float, float], ...] = (
        (0.0, 1e10),
        (0.0, SIZE_EDGES[0]),
        SIZE_EDGES,
        (SIZE_EDGES[1], 1e10),
    )
    max_detections: tuple[int, ...] = MAX_DETECTIONS

    def is_outside(self, areas: Float64[np.ndarray, " N"]) -> Bool[np.ndarray, "N A"]:
        """Whether each area is outside of each area range."""
        low, high = np.array(self.area_ranges).T
        return (areas[:, None] < low) | (areas[:, None] > high)


def category_indices(
    row_categories: Int64[np.ndarray, " N"], category_ids: Int64[np.ndarray, " K"]
) -> Int64[np.ndarray, " N"]:
    """Index of each row's category in the rising ids, ``UNKNOWN`` for other categories."""
    if not len(category_ids):
        return np.full(len(row_categories), UNKNOWN)
    index = np.minimum(np.searchsorted(category_ids, row_categories), len(category_ids) - 1)
    return np.where(category_ids[index] == row_categories, index, UNKNOWN)


def xyxy_to_xywh(boxes: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, "N 4"]:
    """Turn corners into ``x, y, width, height``."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xywh_to_xyxy(boxes: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, "N 4"]:
    """Turn ``x, y, width, height`` into corners."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
