"""The location of each head cell in the padded input, and the box sizes it learns; section 3.1.

Letters: ``L`` locations over all levels, P3 first, rows before columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.config import EncodingConfig


@dataclass(frozen=True)
class LocationGrid:
    """All locations of one padded input shape.

    Args:
        points: x, y in pixels of the padded input.
        strides: stride of each location's level, in pixels.
        size_ranges: smallest and largest max(ltrb) of the boxes each location learns, in pixels.
        num_per_level: number of locations on each level.
    """

    points: Float[Tensor, "L 2"]
    strides: Float[Tensor, " L"]
    size_ranges: Float[Tensor, "L 2"]
    num_per_level: tuple[int, ...]


def level_sizes(size: int, strides: Sequence[int]) -> tuple[int, ...]:
    """Number of cells along one side of each level, from the padded input's height or width.

    Stride-2 convolutions with padding 1 round up; strides rise by powers of two.
    """
    return tuple(-(-size // stride) for stride in strides)


@lru_cache(maxsize=256)
def location_grid(
    padded_shape: tuple[int, int],
    level_shapes: tuple[tuple[int, int], ...],
    config: EncodingConfig,
    device: torch.device,
) -> LocationGrid:
    """Lay out the locations of all levels; cached, since a run sees few shapes.

    Args:
        padded_shape: height and width of the network's input.
        level_shapes: height and width of each level's map.
        config: offset, step, strides and size ranges.
        device: device of the tensors, which are shared between callers and must not be changed.
    """
    points: list[Tensor] = []
    strides: list[Tensor] = []
    size_ranges: list[Tensor] = []
    for stride, size_range, (rows, columns) in zip(
        config.strides, config.size_ranges, level_shapes, strict=True
    ):
        if config.location_step == "grid":
            step_y, step_x = padded_shape[0] // rows, padded_shape[1] // columns
        else:
            step_y = step_x = stride
        offset = stride // 2 if config.location_offset == "half_stride" else 0
        y = torch.arange(rows, dtype=torch.float32) * step_y + offset
        x = torch.arange(columns, dtype=torch.float32) * step_x + offset
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2))
        strides.append(torch.full((rows * columns,), float(stride)))
        size_ranges.append(torch.tensor(size_range, dtype=torch.float32).expand(rows * columns, 2))
    return LocationGrid(
        points=torch.cat(points).to(device),
        strides=torch.cat(strides).to(device),
        size_ranges=torch.cat(size_ranges).to(device),
        num_per_level=tuple(rows * columns for rows, columns in level_shapes),
    )
