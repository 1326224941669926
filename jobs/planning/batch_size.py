"""How many images go through the network at once, where the user leaves that open."""

from __future__ import annotations

import numpy as np

from fcos_core.config import ModelConfig, Precision
from fcos_core.engines.cuda_memory import MAX_BATCH_SIZE, cuda_batch_size
from fcos_core.input_shapes import padded_shape
from jobs.parallel.resources import Resources
from jobs.planning.manifest import SizeGroups

CPU_BATCH_SIZE = 1  # a core gains nothing from batches, and a short batch costs a whole one
CUDA_BATCH_SIZE = 8
"""Of images whose sizes are not known: of larger batches, more would be filled up with zeros."""

_WELL_FILLED = 0.9


def auto_batch_size(
    resources: Resources,
    groups: SizeGroups | None,
    model: ModelConfig,
    precision: Precision,
) -> int:
    """Choose the size by the device's free memory and by the shapes of the images.

    A batch holds images of one padded shape and one shard, and is computed in full however many
    they are. So a larger size is taken only where the images fill nine tenths of such batches.

    Args:
        resources: the device.
        groups: the images of the manifest by size; None where a size is unknown.
        model: decides the shapes, and the memory of an image.
        precision: of the network.
    """
    if resources.device != "cuda":
        return CPU_BATCH_SIZE
    size = MAX_BATCH_SIZE
    if resources.free_gpu_bytes is not None:
        largest = padded_shape(model.input.min_size_px, model.input.max_size_px, model.input)
        size = cuda_batch_size(resources.free_gpu_bytes, largest, model, precision)
    while size > CUDA_BATCH_SIZE and filled_share(groups, model, size) < _WELL_FILLED:
        size //= 2
    return size


def filled_share(groups: SizeGroups | None, model: ModelConfig, batch_size: int) -> float:
    """The share of images, not zeros, in the batches of a manifest; 0 where a size is unknown."""
    if groups is None:
        return 0.0
    if not len(groups.shards):
        return 1.0
    sizes = np.stack([groups.heights, groups.widths])
    unique, which = np.unique(sizes, axis=1, return_inverse=True)
    padded = [padded_shape(height, width, model.input) for height, width in unique.T.tolist()]
    shapes = np.unique(padded, axis=0, return_inverse=True)[1].ravel()[which.ravel()]
    in_batches = groups.shards * (int(shapes.max()) + 1) + shapes
    places = np.unique(in_batches, return_inverse=True)[1]
    counts = np.bincount(places, weights=groups.num_rows).astype(np.int64)
    num_places = int((-(-counts // batch_size) * batch_size).sum())
    return int(counts.sum()) / num_places
