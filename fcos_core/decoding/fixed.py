"""Decoding on a device that runs behind the CPU: all shapes are fixed, and nothing is awaited.

What :mod:`fcos_core.decoding.exact` finds, within limits; ``DecodedBatch.is_exact`` says for which
images these sufficed. Pairs are numbered as there. Letters: ``B`` images, ``L`` locations, ``S``
locations that are looked at, ``C`` classes, ``K`` candidates.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fcos_core.boxes import box_areas, clip_boxes, ltrb_to_boxes
from fcos_core.config import DecodingConfig
from fcos_core.decoding.scoring import pair_scores, with_margin
from fcos_core.decoding.structures import DecodedBatch, class_plane_sizes
from fcos_core.locations import LocationGrid
from fcos_core.structures import HeadOutputs

MOST_CANDIDATES = 1000
"""Candidates of an image that NMS looks at, best first."""

NUM_ROUNDS = 16
"""Rounds of NMS: the most boxes of a chain in which each one suppresses the next, about."""

# Locations looked at on a level beyond its top-k, so that those left out score clearly less.
_MORE_LOCATIONS = 64

# A key is a score's bits, times this, minus the pair's number.
_KEY_BITS = 32
_REJECTED_KEYS = -(1 << _KEY_BITS)
_PAIR_MASK = 2**_KEY_BITS - 1


def decode_fixed(
    outputs: HeadOutputs,
    grid: LocationGrid,
    config: DecodingConfig,
    *,
    sizes: Float[Tensor, "B 2"],
    unit_px: Float[Tensor, " L"],
) -> DecodedBatch:
    """Decode without waiting; see :func:`fcos_core.decoding.decode`."""
    num_classes = outputs.cls_logits.shape[-1]
    keys, are_levels_exact = _best_keys(outputs, grid.num_per_level, config)
    is_cut = (keys[:, MOST_CANDIDATES:] > _REJECTED_KEYS).any(dim=1)
    keys = keys[:, :MOST_CANDIDATES]
    pairs = -keys & _PAIR_MASK
    scores = ((keys + pairs) >> _KEY_BITS).to(torch.int32).view(torch.float32)
    location, label = pairs // num_classes, pairs % num_classes
    distances = outputs.distances.gather(1, location[..., None].expand(-1, -1, 4)).float()
    boxes = ltrb_to_boxes(grid.points[location], distances * unit_px[location][..., None])
    boxes = clip_boxes(boxes, sizes[:, 1:].float(), sizes[:, :1].float())

    moved = boxes.double() + (label * class_plane_sizes(sizes)[:, None])[..., None]
    keep, is_settled = _keep(moved, keys > _REJECTED_KEYS, config.nms_iou)
    # Sorting is stable: kept candidates first, best first.
    order = keep.sort(dim=1, descending=True, stable=True).indices[:, : config.max_detections]
    num_kept = keep.sum(dim=1, dtype=torch.int64)
    is_enough = num_kept >= config.max_detections
    return DecodedBatch(
        boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        scores.gather(1, order),
        label.gather(1, order),
        num_kept.clamp(max=order.shape[1]),
        are_levels_exact & is_settled & (is_enough | ~is_cut),
    )


def _best_keys(
    outputs: HeadOutputs, num_per_level: tuple[int, ...], config: DecodingConfig
) -> tuple[Int64[Tensor, "B _"], Bool[Tensor, " B"]]:
    """The best pairs of each level as keys, all falling, and whether they are these for certain.

    A key orders by score, equal scores by the pair's number; the keys of pairs that do not pass are
    at most ``_REJECTED_KEYS``. A score that has underflowed to 0 passes a threshold on the class.
    """
    num_images, _, num_classes = outputs.cls_logits.shape
    chosen, least_looked_at = _look_at(outputs, num_per_level, config)
    at = torch.cat(chosen, dim=1)
    scores = pair_scores(
        outputs.cls_logits.gather(1, at[..., None].expand(-1, -1, num_classes)),
        outputs.centerness_logits.gather(1, at)[..., None],
        config,
    )
    numbers = at[..., None] * num_classes + torch.arange(num_classes, device=at.device)
    keys = (scores.view(torch.int32).long() << _KEY_BITS) - numbers
    top: list[Tensor] = []
    start = 0
    is_exact: Tensor = torch.ones(num_images, dtype=torch.bool, device=at.device)
    for of_level, least in zip(chosen, least_looked_at, strict=True):
        pairs = keys[:, start : start + of_level.shape[1]].flatten(1)
        start += of_level.shape[1]
        best = pairs.topk(min(config.top_k_per_level, pairs.shape[1]), dim=1).values
        top.append(best)
        if least is not None:
            # Behind the last of the level is its number, less than one bit of its score.
            last = ((best[:, -1] + _PAIR_MASK) >> _KEY_BITS).to(torch.int32).view(torch.float32)
            is_exact = is_exact & (least <= with_margin(last))
    return torch.cat(top, dim=1).sort(dim=1, descending=True).values, is_exact


def _look_at(
    outputs: HeadOutputs, num_per_level: tuple[int, ...], config: DecodingConfig
) -> tuple[list[Int64[Tensor, "B _"]], list[Tensor | None]]:
    """The locations of each level with the best pairs, and the least score among these.

    The least score is None for a level all of whose locations are looked at. A location's best pair
    is that of its largest logit, but for rounding.
    """
    lower = replace(config, score_threshold=with_margin(config.score_threshold))
    best = pair_scores(outputs.cls_logits.amax(dim=-1), outputs.centerness_logits, lower)
    most = config.top_k_per_level + _MORE_LOCATIONS
    chosen: list[Tensor] = []
    least: list[Tensor | None] = []
    start = 0
    for count in num_per_level:
        if count > most:
            top = best[:, start : start + count].topk(most, dim=1)
            chosen.append(top.indices + start)
            least.append(top.values[:, -1])
        else:
            places = torch.arange(start, start + count, device=best.device)
            chosen.append(places.expand(len(best), -1))
            least.append(None)
        start += count
    return chosen, least


def _keep(
    moved: Float[Tensor, "B K 4"], is_valid: Bool[Tensor, "B K"], nms_iou: float
) -> tuple[Float[Tensor, "B K"], Bool[Tensor, " B"]]:
    """1 for each candidate that no better one suppresses, else 0, and whether that is certain.

    A candidate is kept if no kept one before it suppresses it. Repeating this from any start makes
    one candidate after the other right, and changes nothing more when all are.
    """
    dtype = torch.float16 if moved.is_cuda else torch.float32
    suppresses = _suppresses(moved, nms_iou).to(dtype)
    valid = is_valid.to(dtype)[:, None]
    keep = before = valid
    for _ in range(NUM_ROUNDS):
        before = keep
        # 1 less the number of those that suppress it.
        keep = torch.baddbmm(valid, before, suppresses, alpha=-1).clamp(min=0)
    return keep[:, 0], (keep == before)[:, 0].all(dim=1)


def _suppresses(moved: Float[Tensor, "B K 4"], nms_iou: float) -> Bool[Tensor, "B K K"]:
    """Whether each candidate (rows) suppresses each later one, by torchvision's arithmetic."""
    areas = box_areas(moved)
    first, second = moved[:, :, None], moved[:, None]
    overlap = torch.minimum(first[..., 2:], second[..., 2:])
    overlap -= torch.maximum(first[..., :2], second[..., :2])
    overlap = overlap.clamp_(min=0)
    overlap = overlap[..., 0] * overlap[..., 1]
    union = (areas[:, :, None] + areas[:, None]).sub_(overlap)
    return overlap.div_(union).gt(nms_iou).triu_(diagonal=1)
