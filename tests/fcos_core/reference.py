"""Ground-truth encoding and class-aware NMS as slow loops, written from the paper."""

import math

import torch
from torchvision.ops import box_iou

from fcos_core.config import EncodingConfig
from fcos_core.locations import LocationGrid
from fcos_core.structures import BACKGROUND


def slow_assign(boxes: torch.Tensor, grid: LocationGrid, config: EncodingConfig) -> list[int]:
    """Index of the box that each location learns, one location and one box at a time."""
    chosen: list[int] = []
    for (x, y), stride, (low, high) in zip(
        grid.points.tolist(), grid.strides.tolist(), grid.size_ranges.tolist(), strict=True
    ):
        best, best_area = BACKGROUND, math.inf
        for i, (x_min, y_min, x_max, y_max) in enumerate(boxes.tolist()):
            ltrb = (x - x_min, y - y_min, x_max - x, y_max - y)
            if min(ltrb) <= 0:
                continue
            if config.center_radius is not None:
                radius = config.center_radius * stride
                dx, dy = x - (x_min + x_max) / 2, y - (y_min + y_max) / 2
                if max(abs(dx), abs(dy)) >= radius:
                    continue
            longest = max(ltrb)
            if config.range_ends == "closed" and not low <= longest <= high:
                continue
            if config.range_ends == "open" and not low < longest < high:
                continue
            extra = 1 if config.area_rule == "inclusive" else 0
            area = (x_max - x_min + extra) * (y_max - y_min + extra)
            if area < best_area:
                best, best_area = i, area
        chosen.append(best)
    return chosen


def slow_nms(
    boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, iou: float
) -> list[int]:
    """Kept indices, best first; a better box of the same class with a larger IoU removes a box."""
    overlap = box_iou(boxes, boxes)
    kept: list[int] = []
    for i in torch.argsort(scores, descending=True, stable=True).tolist():
        if all(labels[i] != labels[j] or overlap[i, j] <= iou for j in kept):
            kept.append(i)
    return kept
