"""Ground-truth encoding: which box each location learns; sections 3.1, 3.2 and equation 3.

Letters: ``B`` images, ``L`` locations over all levels, ``G`` ground-truth boxes of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fcos_core.boxes import box_areas, boxes_to_ltrb
from fcos_core.config import TORCHVISION_LEAST_QUALITY, EncodingConfig
from fcos_core.locations import LocationGrid
from fcos_core.structures import BACKGROUND, GroundTruth


@dataclass(frozen=True)
class Targets:
    """The targets of all locations of a batch.

    Args:
        labels: class indices; ``BACKGROUND`` where no box qualifies.
        matched: index of the box in its image; ``BACKGROUND`` where no box qualifies.
        boxes: the box to learn, xyxy in pixels of the padded input; zeros where no box qualifies.
        centerness: 0..1; zero where no box qualifies.
    """

    labels: Int64[Tensor, "B L"]
    matched: Int64[Tensor, "B L"]
    boxes: Float[Tensor, "B L 4"]
    centerness: Float[Tensor, "B L"]


def encode(
    ground_truths: Sequence[GroundTruth], grid: LocationGrid, config: EncodingConfig
) -> Targets:
    """Choose the box each location learns, the smallest when several qualify.

    Args:
        ground_truths: one per image, in pixels of the padded input; an image may have no boxes.
        grid: the locations of the padded input.
        config: centre sampling, interval ends and how areas are compared.

    Returns:
        Targets on the grid's device.
    """
    matched = torch.stack([assign(truth.boxes, grid, config) for truth in ground_truths])
    labels = torch.full_like(matched, BACKGROUND)
    boxes = grid.points.new_zeros((*matched.shape, 4))
    for i, truth in enumerate(ground_truths):
        if len(truth.boxes):
            is_positive = matched[i] >= 0
            index = matched[i].clamp(min=0)
            labels[i] = torch.where(is_positive, truth.labels[index], BACKGROUND)
            boxes[i] = torch.where(is_positive[:, None], truth.boxes[index], 0.0)
    ltrb = boxes_to_ltrb(grid.points, boxes)
    return Targets(
        labels=labels,
        matched=matched,
        boxes=boxes,
        centerness=torch.where(matched >= 0, centerness(ltrb), 0.0),
    )


def assign(
    boxes: Float[Tensor, "G 4"], grid: LocationGrid, config: EncodingConfig
) -> Int64[Tensor, " L"]:
    """Index of the box each location learns, ``BACKGROUND`` where none qualifies.

    The boxes are xyxy in pixels of the padded input; there may be none.
    """
    num_locations = len(grid.points)
    if len(boxes) == 0:
        return torch.full(
            (num_locations,), BACKGROUND, dtype=torch.int64, device=grid.points.device
        )
    # The boxes are sorted by area, so the smallest candidate is the first; a stable sort keeps the
    # file's order among equal areas.
    order = torch.argsort(_area_rank(boxes, config), stable=True)
    is_candidate = candidates(boxes[order], grid, config)
    first = is_candidate.to(torch.uint8).argmax(dim=1)
    return torch.where(is_candidate.any(dim=1), order[first], BACKGROUND)


def candidates(
    boxes: Float[Tensor, "G 4"], grid: LocationGrid, config: EncodingConfig
) -> Bool[Tensor, "L G"]:
    """Which boxes each location could learn.

    The location lies inside the box and near enough to its centre, and the box's size fits the
    location's level.
    """
    points = grid.points[:, None, :]
    ltrb = boxes_to_ltrb(points, boxes[None, :, :])
    is_candidate = ltrb.amin(dim=-1) > 0
    if config.center_radius is not None:
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        radius_px = config.center_radius * grid.strides[:, None]
        is_candidate &= (points - centers[None]).abs().amax(dim=-1) < radius_px
    longest = ltrb.amax(dim=-1)
    low, high = grid.size_ranges[:, :1], grid.size_ranges[:, 1:]
    if config.range_ends == "closed":
        is_candidate &= (longest >= low) & (longest <= high)
    else:
        is_candidate &= (longest > low) & (longest < high)
    if config.area_rule == "float32":
        is_candidate &= -_area_rank(boxes, config) >= TORCHVISION_LEAST_QUALITY
    return is_candidate


def centerness(ltrb: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N"]:
    """Equation 3: 1 in the middle of the box, 0 on its sides and outside; ltrb in any unit."""
    left, top, right, bottom = ltrb.clamp(min=0).unbind(-1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (horizontal * vertical).nan_to_num(0.0).sqrt()


def _area_rank(boxes: Float[Tensor, "G 4"], config: EncodingConfig) -> Float[Tensor, " G"]:
    """The value compared to find the smallest box; see ``EncodingConfig.area_rule``."""
    match config.area_rule:
        case "plain":
            return box_areas(boxes)
        case "inclusive":
            return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
        case "float32":
            return -(1e8 - box_areas(boxes))
