"""Overlaps of boxes, with the arithmetic of pycocotools, bit for bit.

Letters: ``N`` boxes, ``G`` ground-truth boxes, ``P`` pairs, ``E`` pairs that overlap.

Source: ``bbIou`` in ``maskApi.c`` of pycocotools 2.0.11.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64


@dataclass(frozen=True)
class Sides:
    """Sides and areas of boxes, one array each, which is quicker to gather from."""

    left: Float64[np.ndarray, " N"]
    top: Float64[np.ndarray, " N"]
    right: Float64[np.ndarray, " N"]
    bottom: Float64[np.ndarray, " N"]
    area: Float64[np.ndarray, " N"]

    @classmethod
    def of(cls, boxes: Float64[np.ndarray, "N 4"]) -> "Sides":
        """Sides of boxes given as ``x, y, width, height``."""
        x, y, width, height = np.ascontiguousarray(boxes.T)
        return cls(x, y, width + x, height + y, width * height)


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a detection and a box that overlap, by detection, then in the order of the boxes.

    ``detection`` and ``box`` are indices into those that were compared.
    """

    detection: Int64[np.ndarray, " E"]
    box: Int64[np.ndarray, " E"]
    iou: Float64[np.ndarray, " E"]

    def chosen(self, which: Bool[np.ndarray, " E"] | Int64[np.ndarray, " _"]) -> "Overlaps":
        """Some of the pairs, by mask or indices."""
        return Overlaps(self.detection[which], self.box[which], self.iou[which])

    @classmethod
    def joined(cls, parts: "Sequence[Overlaps]") -> "Overlaps":
        """The pairs of all parts; there may be none."""
        parts = [cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)), *parts]
        return cls(
            np.concatenate([part.detection for part in parts]),
            np.concatenate([part.box for part in parts]),
            np.concatenate([part.iou for part in parts]),
        )


def intersecting(
    found: Sides,
    true: Sides,
    is_crowd: Bool[np.ndarray, " G"],
    detection: Int64[np.ndarray, " P"],
    box: Int64[np.ndarray, " P"],
) -> tuple[Int64[np.ndarray, " E"], Float64[np.ndarray, " E"]]:
    """Find the pairs that have an area in common; all others overlap by 0.

    Args:
        found: all detections.
        true: all ground-truth boxes.
        is_crowd: boxes whose overlap is the share of the detection that lies in them.
        detection: index of each pair's detection.
        box: index of each pair's ground-truth box.

    Returns:
        Which pairs intersect, rising, and the IoU of each.
    """
    width = np.minimum(found.right[detection], true.right[box])
    width -= np.maximum(found.left[detection], true.left[box])
    beside = np.flatnonzero(width > 0)
    detection, box = detection[beside], box[beside]
    height = np.minimum(found.bottom[detection], true.bottom[box])
    height -= np.maximum(found.top[detection], true.top[box])
    meets = np.flatnonzero(height > 0)
    detection, box, which = detection[meets], box[meets], beside[meets]
    shared = width[which] * height[meets]
    area = found.area[detection]
    union = np.where(is_crowd[box], area, area + true.area[box] - shared)
    return which, shared / union
