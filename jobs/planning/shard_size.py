"""How many images and frames a shard has, where the user leaves that open."""

from __future__ import annotations

from fcos_core.config import ModelConfig
from fcos_core.input_shapes import padded_shape
from jobs.parallel.resources import Resources

_SHARDS_SORTED, _SHARDS_MIXED = 32, 8
_SMALLEST_SORTED, _SMALLEST_MIXED = 16, 64

LARGEST_ON_CPU = 256
LARGEST_ON_CUDA = 8_192
"""Of so many images with a hundred detections each, the file has about 20 MB."""

_SHARD_S = 20.0
"""On a CPU a shard is done within about so long, so that something is to be seen, and a kill
loses little."""

# What a network computes, in GFLOP per million pixels of its padded input. A ResNet-50 with pyramid
# and head takes 349 for 800 x 1088 (docs/performance.md), of which the backbone is 143.
_NECK_AND_HEAD = 237.0  # for 256 channels
_BACKBONES = {
    "resnet18": 72.0,
    "resnet34": 146.0,
    "resnet50": 164.0,
    "resnet101": 312.0,
    "mobilenet_v3_small": 2.4,
    "mobilenet_v3_large": 9.0,
}
_UNKNOWN_BACKBONE = 164.0
_FPN_CHANNELS = 256
_GFLOPS_PER_THREAD = 60.0  # with AVX2; three times as many with AVX512


def auto_shard_size(
    num_rows: int, *, is_sized: bool, resources: Resources, threads: int, model: ModelConfig
) -> int:
    """Choose how many rows a shard has; never by the number of workers.

    Small datasets get small shards, so that several actors share the work and a kill loses little.
    On a CPU a shard takes some twenty seconds at most. On a GPU a batch holds one padded shape, and
    the last batch of each shape in a shard is padded to full size: COCO photos in no order, with
    batches of eight, cost 3.6, 2.2 and 1.35 times the computation in shards of 16, 64 and 256.
    Where sizes are known, equal shapes lie together, and the factor is 1.1 from 1000 images on.

    Args:
        num_rows: images and frames of the run.
        is_sized: whether the sizes of all images are known.
        resources: the device.
        threads: of a worker.
        model: decides how long an image takes on a CPU.
    """
    if is_sized:
        smallest, num_shards = _SMALLEST_SORTED, _SHARDS_SORTED
    else:
        smallest, num_shards = _SMALLEST_MIXED, _SHARDS_MIXED
    wanted = max(-(-num_rows // num_shards), smallest)
    if resources.device == "cuda":
        return min(wanted, LARGEST_ON_CUDA)
    in_time = int(_SHARD_S / cpu_seconds(model, threads))
    return max(1, min(wanted, in_time, LARGEST_ON_CPU))


def cpu_seconds(model: ModelConfig, threads: int) -> float:
    """Estimate how long a worker takes for the largest usual input, on a CPU with AVX2."""
    height, width = padded_shape(model.input.min_size_px, model.input.max_size_px, model.input)
    backbone = _BACKBONES.get(model.backbone.name, _UNKNOWN_BACKBONE) * model.backbone.width**2
    rest = _NECK_AND_HEAD * (model.backbone.fpn_channels / _FPN_CHANNELS) ** 2
    return height * width / 1e6 * (backbone + rest) / (_GFLOPS_PER_THREAD * threads)
