"""Which images each step trains on, their size and which are mirrored: the seed alone decides.

A plan covers the whole batch, whatever the number of workers that share it. The plan of any step
can be made again, so a resumed training sees the same images as one that was not interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np

from fcos_core.config import InputConfig
from fcos_core.training.examples import common_shape
from jobs.settings.train import TrainConfig

_ORDER, _AUGMENTATION = 0, 1  # separate streams of random numbers


@dataclass(frozen=True)
class BatchPlan:
    """The batch of one step; an image may occur twice where an epoch ends.

    ``min_size`` is the length of the shorter side after resizing, in pixels; ``padded_shape`` is
    height and width of the network's input, from the annotated sizes.
    """

    indices: tuple[int, ...]
    is_flipped: tuple[bool, ...]
    min_size: int
    padded_shape: tuple[int, int]

    def input(self, config: InputConfig) -> InputConfig:
        """The model's input settings with this step's size."""
        return replace(config, min_size_px=self.min_size)


def plan_batches(
    sizes: Sequence[tuple[int, int]],
    config: TrainConfig,
    input_config: InputConfig,
    *,
    first_step: int = 0,
) -> Iterator[BatchPlan]:
    """Plan the batches from ``first_step`` on; sizes are height and width, as annotated.

    Yields:
        A plan for each remaining step.
    """
    batches = enumerate(_batches(sizes, config))
    for step, indices in islice(batches, first_step, config.steps):
        random = np.random.default_rng([config.seed, _AUGMENTATION, step])
        flips = random.integers(2, size=len(indices)) if config.flip else [0] * len(indices)
        choices = config.min_sizes or (config.min_size,)
        min_size = choices[int(random.integers(len(choices)))]
        yield BatchPlan(
            indices=tuple(indices),
            is_flipped=tuple(bool(flip) for flip in flips),
            min_size=min_size,
            padded_shape=common_shape(
                [sizes[i] for i in indices], replace(input_config, min_size_px=min_size)
            ),
        )


def _batches(sizes: Sequence[tuple[int, int]], config: TrainConfig) -> Iterator[list[int]]:
    """Fill batches without end, each with images of one orientation.

    Yields:
        The indices of a batch, as soon as one orientation has enough images. Every image is seen
        equally often, but a batch may span two epochs.
    """
    waiting: dict[bool, list[int]] = {False: [], True: []}
    for index in _shuffled(len(sizes), config.seed):
        height, width = sizes[index]
        group = waiting[config.group_by_orientation and height > width]
        group.append(index)
        if len(group) == config.batch_size:
            yield list(group)
            group.clear()


def _shuffled(num_images: int, seed: int) -> Iterator[int]:
    for epoch in count():
        for index in np.random.default_rng([seed, _ORDER, epoch]).permutation(num_images):
            yield int(index)
