"""Arithmetic on boxes and distances. Boxes are xyxy in continuous coordinates, distances are ltrb.

Letters: ``G`` ground-truth boxes, ``N`` any number of boxes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

# Added to the denominators, so that two boxes without area give 0 and not NaN.
_EPSILON = 1e-7


def box_areas(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N"]:
    """Width times height, in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def boxes_to_ltrb(
    locations: Float[Tensor, "*#N 2"], boxes: Float[Tensor, "*#N 4"]
) -> Float[Tensor, "*N 4"]:
    """Distances from each location to the four sides of its box; equation 1."""
    x, y = locations.unbind(-1)
    x_min, y_min, x_max, y_max = boxes.unbind(-1)
    return torch.stack([x - x_min, y - y_min, x_max - x, y_max - y], dim=-1)


def ltrb_to_boxes(
    locations: Float[Tensor, "*#N 2"], ltrb: Float[Tensor, "*#N 4"]
) -> Float[Tensor, "*N 4"]:
    """Undo :func:`boxes_to_ltrb`."""
    x, y = locations.unbind(-1)
    left, top, right, bottom = ltrb.unbind(-1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)


def clip_boxes(
    boxes: Float[Tensor, "*N 4"], widths: Float[Tensor, "*#N"], heights: Float[Tensor, "*#N"]
) -> Float[Tensor, "*N 4"]:
    """Move the corners into their image: x into [0, width], y into [0, height]."""
    limits = torch.stack([widths, heights, widths, heights], dim=-1)
    return torch.minimum(boxes.clamp(min=0), limits)


def giou(boxes: Float[Tensor, "N 4"], others: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Generalised intersection over union (arXiv 1902.09630) of each pair of boxes, in -1..1."""
    overlap = (
        torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])
    ).clamp(min=0)
    intersection = overlap[:, 0] * overlap[:, 1]
    union = box_areas(boxes) + box_areas(others) - intersection
    iou = intersection / (union + _EPSILON)
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    hull_area = hull[:, 0] * hull[:, 1]
    return iou - (hull_area - union) / (hull_area + _EPSILON)
