"""How many images go through the network at once, where the user leaves that open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fcos_core.config import ModelConfig, Precision
from fcos_core.engines.cuda_memory import MAX_BATCH_SIZE, cuda_batch_size
from fcos_core.input_shapes import padded_shape
from jobs.parallel.resources import Resources
from jobs.rundir.rows import ManifestItem

CPU_BATCH_SIZE = 1  # a core gains nothing from batches, and a short batch costs a whole one
CUDA_BATCH_SIZE = 8
"""Of images whose sizes are not known: of larger batches, more would be filled up with zeros."""

_WELL_FILLED = 0.9


def auto_batch_size(
    resources: Resources,
    items: Sequence[ManifestItem],
    model: ModelConfig,
    precision: Precision,
) -> int:
    """Choose the size by the device's free memory and by the shapes of the images.

    A batch holds images of one padded shape and one shard, and is computed in full however many
    they are. So a larger size is taken only where the images fill nine tenths of such batches.

    Args:
        resources: the device.
        items: of the manifest.
        model: decides the shapes, and the memory of an image.
        precision: of the network.
    """
    if resources.device != "cuda":
        return CPU_BATCH_SIZE
    size = MAX_BATCH_SIZE
    if resources.free_gpu_bytes is not None:
        largest = padded_shape(model.input.min_size_px, model.input.max_size_px, model.input)
        size = cuda_batch_size(resources.free_gpu_bytes, largest, model, precision)
    while size > CUDA_BATCH_SIZE and filled_share(items, model, size) < _WELL_FILLED:
        size //= 2
    return size


def filled_share(items: Sequence[ManifestItem], model: ModelConfig, batch_size: int) -> float:
    """The share of images, not zeros, in the batches of these items; 0 where a size is unknown."""
    counts = Counter[tuple[int, tuple[int, int]]]()
    for item in items:
        if item.width is None or item.height is None:
            return 0.0
        shape = padded_shape(item.height, item.width, model.input)
        counts[item.shard, shape] += item.num_frames or 1
    num_places = sum(-(-count // batch_size) * batch_size for count in counts.values())
    return sum(counts.values()) / num_places if num_places else 1.0
