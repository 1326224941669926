"""Decoding as it was before it became few steps, to be measured against: all pairs are scored.

Threshold, top-k per level, boxes, non-maximum suppression. Everything here is float32 or better,
whatever the network's precision: half a class offset of ~60,000 is not representable in 16 bits.
Letters: ``B`` images, ``L`` locations, ``C`` classes, ``K`` candidates per image, ``D`` detections
per image (the batch's maximum).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fcos_core.boxes import clip_boxes, ltrb_to_boxes
from fcos_core.config import DecodingConfig
from fcos_core.locations import LocationGrid
from fcos_core.structures import HeadOutputs
from fcos_core.torchvision_imports import nms


@dataclass(frozen=True)
class DecodedBatch:
    """Detections of a batch by falling score; image ``i`` has the first ``counts[i]`` places.

    Args:
        boxes: xyxy in pixels of the padded input.
        scores: 0..1.
        labels: class indices.
        counts: number of detections of each image.
    """

    boxes: Float[Tensor, "B D 4"]
    scores: Float[Tensor, "B D"]
    labels: Int64[Tensor, "B D"]
    counts: Int64[Tensor, " B"]


def sigmoid(values: Tensor) -> Tensor:
    """Image by image, as the end of a tensor is computed otherwise than the rest."""
    return torch.stack([torch.sigmoid(image) for image in values.contiguous()])


@dataclass(frozen=True)
class Candidates:
    """The input of NMS; rejected places have ``is_valid`` false and score -1."""

    boxes: Float[Tensor, "B K 4"]
    scores: Float[Tensor, "B K"]
    labels: Int64[Tensor, "B K"]
    is_valid: Bool[Tensor, "B K"]


def decode(
    outputs: HeadOutputs,
    grid: LocationGrid,
    config: DecodingConfig,
    *,
    sizes: Float[Tensor, "B 2"],
    unit_px: Float[Tensor, " L"],
) -> DecodedBatch:
    """Decode a batch of outputs in any precision.

    Args:
        outputs: outputs of the head.
        grid: the locations.
        config: thresholds and limits.
        sizes: height and width of each image inside its padding; boxes are clipped to them.
        unit_px: length of one unit of ``outputs.distances`` in pixels, per location.
    """
    found = select_candidates(outputs, grid, config, sizes=sizes, unit_px=unit_px)
    return suppress(found, config)


def select_candidates(
    outputs: HeadOutputs,
    grid: LocationGrid,
    config: DecodingConfig,
    *,
    sizes: Float[Tensor, "B 2"],
    unit_px: Float[Tensor, " L"],
) -> Candidates:
    """Threshold and take the best (location, class) pairs of each level, for all images at once."""
    scores = candidate_scores(outputs, config)
    num_images, _, num_classes = scores.shape
    best_scores: list[Tensor] = []
    best_pairs: list[Tensor] = []
    start = 0
    for num_locations in grid.num_per_level:
        level = scores[:, start : start + num_locations].reshape(num_images, -1)
        k = min(config.top_k_per_level, level.shape[1])
        top = level.topk(k, dim=1, sorted=True)
        best_scores.append(top.values)
        best_pairs.append(top.indices + start * num_classes)
        start += num_locations
    candidate_score = torch.cat(best_scores, dim=1)
    pairs = torch.cat(best_pairs, dim=1)
    location = pairs // num_classes

    distances = outputs.distances.float().gather(1, location[..., None].expand(-1, -1, 4))
    boxes = ltrb_to_boxes(grid.points[location], distances * unit_px[location][..., None])
    return Candidates(
        boxes=clip_boxes(boxes, sizes[:, 1:].float(), sizes[:, :1].float()),
        scores=candidate_score,
        labels=pairs % num_classes,
        is_valid=candidate_score >= 0,
    )


def candidate_scores(outputs: HeadOutputs, config: DecodingConfig) -> Float[Tensor, "B L C"]:
    """The score of every (location, class) pair, -1 where it does not pass the threshold.

    The formula is written here and nowhere else.
    """
    classification = sigmoid(outputs.cls_logits.float())
    product = classification * sigmoid(outputs.centerness_logits.float())[..., None]
    scores = product.sqrt() if config.score == "sqrt" else product
    compared = scores if config.threshold_on == "score" else classification
    return torch.where(compared > config.score_threshold, scores, -1.0)


def suppress(found: Candidates, config: DecodingConfig) -> DecodedBatch:
    """Class-aware non-maximum suppression, best first, at most ``max_detections`` per image."""
    num_images = len(found.scores)
    kept = [_keep(found, i, config) for i in range(num_images)]
    counts = torch.tensor([len(k) for k in kept], dtype=torch.int64)
    width = int(counts.max()) if num_images else 0
    boxes = found.boxes.new_zeros((num_images, width, 4))
    scores = found.scores.new_zeros((num_images, width))
    labels = found.labels.new_zeros((num_images, width))
    for i, index in enumerate(kept):
        boxes[i, : len(index)] = found.boxes[i, index]
        scores[i, : len(index)] = found.scores[i, index]
        labels[i, : len(index)] = found.labels[i, index]
    return DecodedBatch(boxes, scores, labels, counts)


def _keep(found: Candidates, image: int, config: DecodingConfig) -> Int64[Tensor, " D"]:
    valid = torch.nonzero(found.is_valid[image])[:, 0]
    boxes, labels = found.boxes[image, valid], found.labels[image, valid]
    if len(valid) == 0:
        return valid
    # The boxes of each class are moved apart, so that one call serves all classes. In float64 the
    # move is exact for float32 coordinates; float32 would round to 1/128 px from class 64 on.
    plane = labels.double() * (boxes.max().double() + 1)
    order = torch.argsort(found.scores[image, valid], descending=True, stable=True)
    ranked = (boxes.double() + plane[:, None])[order]
    rank_scores = torch.arange(len(order), 0, -1, dtype=torch.float64, device=ranked.device)
    return valid[order[nms(ranked, rank_scores, config.nms_iou)[: config.max_detections]]]
