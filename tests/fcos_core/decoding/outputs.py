"""Random outputs that look like a trained detector's, and decoding as it is defined, slowly."""

import torch
from torch.nn import functional as F
from torchvision.ops import nms

from fcos_core.config import DecodingConfig, ModelConfig
from fcos_core.decoding import DecodedBatch
from fcos_core.locations import LocationGrid
from fcos_core.structures import HeadOutputs
from tests.fcos_core.test_locations import grid_of

# Twice the values that the widest vectors of a CPU hold.
WHOLE_VECTORS = 64


def random_outputs(
    seed: int, *, num_images: int, shape: tuple[int, int], config: ModelConfig, step: float = 0.0
) -> tuple[HeadOutputs, LocationGrid, torch.Tensor]:
    """Outputs, locations and sizes of the images inside their padding.

    Most logits lie far below the threshold. With ``step`` logits are multiples of it, so that many
    scores are equal.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = grid_of(*shape, config.encoding)
    count = len(grid.points)
    places = (num_images, count)
    bias = -8 + 5 * torch.rand(1, generator=generator)
    cls_logits = torch.randn(*places, config.num_classes, generator=generator) * 1.6 + bias
    centerness = torch.randn(places, generator=generator) * 1.5
    if step:
        cls_logits, centerness = (torch.round(t / step) * step for t in (cls_logits, centerness))
    distances = torch.randn(*places, 4, generator=generator).abs() * 3
    sizes = torch.tensor(shape) - torch.randint(0, 20, (num_images, 2), generator=generator)
    return HeadOutputs(cls_logits, distances, centerness, ()), grid, sizes.float()


def one_image(outputs: HeadOutputs, image: int) -> HeadOutputs:
    """The outputs of one image of a batch."""
    part = slice(image, image + 1)
    return HeadOutputs(
        outputs.cls_logits[part],
        outputs.distances[part],
        outputs.centerness_logits[part],
        outputs.level_shapes,
    )


def slow_decode(
    outputs: HeadOutputs,
    grid: LocationGrid,
    config: DecodingConfig,
    *,
    sizes: torch.Tensor,
    unit_px: torch.Tensor,
) -> DecodedBatch:
    """Every pair scored, every level sorted, one image after the other."""
    found = [
        _slow_image(one_image(outputs, i), grid, config, size, unit_px)
        for i, size in enumerate(sizes)
    ]
    counts = [len(scores) for _, scores, _ in found]
    boxes, scores, labels = (
        torch.nn.utils.rnn.pad_sequence([one[i] for one in found], batch_first=True)
        for i in range(3)
    )
    is_exact = torch.ones(len(found), dtype=torch.bool)
    return DecodedBatch(boxes, scores, labels, torch.tensor(counts), is_exact)


def _slow_image(outputs, grid, config, size, unit_px):
    num_classes = outputs.cls_logits.shape[-1]
    classification = _whole_vectors(outputs.cls_logits[0].float())
    centerness = _whole_vectors(outputs.centerness_logits[0].float())
    product = classification * centerness[:, None]
    scores = product.sqrt() if config.score == "sqrt" else product
    compared = scores if config.threshold_on == "score" else classification
    scores = torch.where(compared > config.score_threshold, scores, -1.0)
    pairs = []
    start = 0
    for count in grid.num_per_level:
        level = scores[start : start + count].flatten()
        best = level.sort(descending=True, stable=True).indices[: config.top_k_per_level]
        pairs.append(best[level[best] >= 0] + start * num_classes)
        start += count
    pairs = torch.cat(pairs)
    scores = scores.flatten()[pairs]
    order = scores.sort(descending=True, stable=True).indices
    pairs, scores = pairs[order], scores[order]
    location, label = pairs // num_classes, pairs % num_classes
    ltrb = outputs.distances[0, location].float() * unit_px[location, None]
    x, y = grid.points[location].unbind(1)
    left, top, right, bottom = ltrb.unbind(1)
    height, width = size
    boxes = torch.stack(
        [
            (x - left).clamp(min=0).minimum(width),
            (y - top).clamp(min=0).minimum(height),
            (x + right).clamp(min=0).minimum(width),
            (y + bottom).clamp(min=0).minimum(height),
        ],
        dim=1,
    )
    if len(scores) == 0:
        return boxes, scores, label
    moved = boxes.double() + (label * (boxes.max().double() + 1))[:, None]
    ranks = torch.arange(len(scores), 0, -1, dtype=torch.float64)
    kept = nms(moved, ranks, config.nms_iou)[: config.max_detections]
    return boxes[kept], scores[kept], label[kept]


def _whole_vectors(logits: torch.Tensor) -> torch.Tensor:
    """The logistic function, computed in whole vectors by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        missing = -logits.numel() % WHOLE_VECTORS
        filled = F.pad(logits.flatten(), (0, missing))
        return torch.sigmoid(filled)[: logits.numel()].view(logits.shape)
    finally:
        torch.set_num_threads(before)
