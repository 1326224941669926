"""The targets of one image, level by level, as maps for the eye; sections 3.1 and 3.2.

The maps show which location learns which box, and the outcome of every box.

Letters: ``G`` ground-truth boxes of the image, ``L`` locations over all levels, ``H`` and ``W``
rows and columns of one level's map.
"""

# torch leaves the type of from_numpy() partly unknown.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from fcos_core.boxes import boxes_to_ltrb
from fcos_core.config import EncodingConfig
from fcos_core.locations import LocationGrid, level_sizes, location_grid
from fcos_core.metrics.bpr.frames import boxes_in_frame, frames_of
from fcos_core.metrics.bpr.locations import measure_locations
from fcos_core.metrics.bpr.rules import LocationRule
from fcos_core.metrics.bpr.structures import BoxBlock, Outcomes
from fcos_core.metrics.bpr.tally import level_name
from fcos_core.structures import BACKGROUND
from fcos_core.targets import assign, centerness

# Pairs of a location and a box per step: bounds the memory of a crowded image.
_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class LevelTargets:
    """The targets of one pyramid level's locations.

    Args:
        stride: input pixels per cell.
        size_range: smallest and largest max(ltrb) the level answers for, in pixels.
        x: x of each column, in pixels of the padded input.
        y: y of each row.
        matched: index of the box each location learns, ``BACKGROUND`` where none.
        centerness: 0..1; zero where no box is learned.
    """

    stride: int
    size_range: tuple[float, float]
    x: Float[np.ndarray, " W"]
    y: Float[np.ndarray, " H"]
    matched: Int64[np.ndarray, "H W"]
    centerness: Float[np.ndarray, "H W"]

    @property
    def name(self) -> str:
        """``P3`` for stride 8, and so on."""
        return level_name(self.stride)

    @property
    def is_positive(self) -> Bool[np.ndarray, "H W"]:
        return self.matched != BACKGROUND

    @property
    def num_positive(self) -> int:
        return int(self.is_positive.sum())


@dataclass(frozen=True)
class ImageTargets:
    """The targets of one image's locations, and the outcome of every box.

    Args:
        rule: rule of the assignment.
        image_shape: height and width of the image in pixels.
        resized_shape: height and width after resizing.
        padded_shape: height and width of the network's input.
        boxes: xyxy in pixels of the padded input.
        labels: class index of each box.
        outcomes: cause of loss, candidates and kept locations of each box.
        levels: P3 first, as far as the rule has them.
    """

    rule: LocationRule
    image_shape: tuple[int, int]
    resized_shape: tuple[int, int]
    padded_shape: tuple[int, int]
    boxes: Float[np.ndarray, "G 4"]
    labels: Int64[np.ndarray, " G"]
    outcomes: Outcomes
    levels: tuple[LevelTargets, ...]

    @property
    def num_locations(self) -> int:
        return sum(level.matched.size for level in self.levels)

    @property
    def num_positive(self) -> int:
        return sum(level.num_positive for level in self.levels)


def image_targets(
    image_shape: tuple[int, int],
    boxes: Float64[np.ndarray, "G 4"],
    labels: Int64[np.ndarray, " G"],
    rule: LocationRule,
) -> ImageTargets:
    """Encode the ground truth of one image.

    Args:
        image_shape: height and width of the image in pixels.
        boxes: COCO's x, y, width, height in pixels of the image; no crowd regions.
        labels: class index of each box.
        rule: where locations are and which box each one learns.
    """
    block = BoxBlock(
        image_sizes=np.array([image_shape], np.int64),
        image_index=np.zeros(len(boxes), np.int64),
        boxes=boxes,
        labels=labels,
    )
    frames = frames_of(block.image_sizes, rule.frame)
    resized, padded = _pair(frames.resized), _pair(frames.padded)
    in_frame = boxes_in_frame(block.boxes, block.image_index, block.image_sizes, rule.frame)
    return ImageTargets(
        rule=rule,
        image_shape=image_shape,
        resized_shape=resized,
        padded_shape=padded,
        boxes=in_frame,
        labels=labels,
        outcomes=measure_locations(block, rule),
        levels=_levels(in_frame, padded, rule.encoding),
    )


def _pair(shapes: Int64[np.ndarray, "1 2"]) -> tuple[int, int]:
    height, width = shapes[0].tolist()
    return height, width


def _levels(
    boxes: Float[np.ndarray, "G 4"], padded: tuple[int, int], encoding: EncodingConfig
) -> tuple[LevelTargets, ...]:
    rows, columns = (level_sizes(side, encoding.strides) for side in padded)
    shapes = tuple(zip(rows, columns, strict=True))
    grid = location_grid(padded, shapes, encoding, torch.device("cpu"))
    truth = torch.from_numpy(boxes)
    matched = _assign_in_parts(truth, grid, encoding)
    is_positive = matched != BACKGROUND
    scores = truth.new_zeros(len(matched))
    scores[is_positive] = centerness(
        boxes_to_ltrb(grid.points[is_positive], truth[matched[is_positive]])
    )
    levels: list[LevelTargets] = []
    first = 0
    for stride, size_range, shape in zip(
        encoding.strides, encoding.size_ranges, shapes, strict=True
    ):
        cells = slice(first, first + shape[0] * shape[1])
        points = grid.points[cells].view(*shape, 2).numpy()
        levels.append(
            LevelTargets(
                stride=stride,
                size_range=size_range,
                x=points[0, :, 0],
                y=points[:, 0, 1],
                matched=matched[cells].view(shape).numpy(),
                centerness=scores[cells].view(shape).numpy(),
            )
        )
        first = cells.stop
    return tuple(levels)


def _assign_in_parts(
    boxes: Float[Tensor, "G 4"], grid: LocationGrid, encoding: EncodingConfig
) -> Int64[Tensor, " L"]:
    """Assign as training does, with bounded memory."""
    size = max(1, _PAIRS_AT_ONCE // max(1, len(boxes)))
    parts: list[Tensor] = []
    for first in range(0, len(grid.points), size):
        some = slice(first, first + size)
        part = replace(
            grid,
            points=grid.points[some],
            strides=grid.strides[some],
            size_ranges=grid.size_ranges[some],
        )
        parts.append(assign(boxes, part, encoding))
    return torch.cat(parts)
