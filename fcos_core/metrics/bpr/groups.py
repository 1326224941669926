"""Groups of boxes by what makes them hard: area, side, aspect ratio, crowding and class.

All in pixels of the original image, so that the groups are the same under every rule. Letters:
``G`` boxes, ``P`` pairs of boxes of one image, ``S`` boxes of some images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.bpr.structures import BoxBlock
from fcos_core.metrics.coco import SIZE_EDGES, SIZE_NAMES
from fcos_core.metrics.counting import count_up_in_parts, run_starts

SIDE_EDGES_PX = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
ASPECT_EDGES = (1.5, 2.0, 3.0, 5.0, 8.0, 12.0)
CROWDING_EDGES = (0.0, 0.25, 0.5, 0.75)
# Pairs per step: an image may have very many boxes.
_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Grouping:
    """One way to sort boxes into groups: the groups' names, and the index of each box's group."""

    name: str
    names: tuple[str, ...]
    group: Int64[np.ndarray, " G"]


def groupings(
    block: BoxBlock, areas: Float64[np.ndarray, " G"], class_names: Sequence[str]
) -> tuple[Grouping, ...]:
    """Sort boxes by everything that is reported.

    Args:
        block: the boxes.
        areas: COCO's ``area`` of each, in square pixels; that of the mask where there is one.
        class_names: by class index.

    Returns:
        By area, by longer side, by aspect ratio, by crowding and by class. A value on an edge
        belongs to the group above; of crowding, to the one below.
    """
    longer = block.boxes[:, 2:].max(axis=1, initial=0.0)
    shorter = block.boxes[:, 2:].min(axis=1, initial=np.inf)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        aspect = np.nan_to_num(longer / shorter, nan=np.inf, posinf=np.inf)
    crowded = np.searchsorted(np.array(CROWDING_EDGES), crowding(block), side="left")
    return (
        Grouping("area", SIZE_NAMES, _between(areas, SIZE_EDGES)),
        Grouping("side", _names(0.0, SIDE_EDGES_PX, " px"), _between(longer, SIDE_EDGES_PX)),
        Grouping("aspect", _names(1.0, ASPECT_EDGES, ""), _between(aspect, ASPECT_EDGES)),
        Grouping(
            "crowding",
            ("alone", *(f"IoU {low:g}-{high:g}" for low, high in pairwise((*CROWDING_EDGES, 1.0)))),
            crowded,
        ),
        Grouping("class", tuple(class_names), block.labels),
    )


def crowding(block: BoxBlock) -> Float64[np.ndarray, " G"]:
    """Largest IoU of each box with another box of its image."""
    begin = np.searchsorted(block.image_index, block.image_index)
    length = np.searchsorted(block.image_index, block.image_index, side="right") - begin
    parts = [
        _largest_iou(block.boxes, own, other)
        for own, other in count_up_in_parts(begin, length, _PAIRS_AT_ONCE)
    ]
    return np.concatenate([np.zeros(0), *parts])


def _largest_iou(
    boxes: Float64[np.ndarray, "G 4"],
    own: Int64[np.ndarray, " P"],
    other: Int64[np.ndarray, " P"],
) -> Float64[np.ndarray, " S"]:
    one, two = boxes[own].T, boxes[other].T
    width = np.minimum(one[0] + one[2], two[0] + two[2]) - np.maximum(one[0], two[0])
    height = np.minimum(one[1] + one[3], two[1] + two[3]) - np.maximum(one[1], two[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = one[2] * one[3] + two[2] * two[3] - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    iou[own == other] = 0
    return np.minimum(np.maximum.reduceat(iou, run_starts(own)), 1)


def _between(values: Float64[np.ndarray, " G"], edges: Sequence[float]) -> Int64[np.ndarray, " G"]:
    return np.searchsorted(np.array(edges), values, side="right")


def _names(start: float, edges: Sequence[float], unit: str) -> tuple[str, ...]:
    between = tuple(f"{low:g}-{high:g}{unit}" for low, high in pairwise((start, *edges)))
    return (*between, f"{edges[-1]:g}+{unit}")
