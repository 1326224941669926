"""Which images each step sees, how large, and which of them mirrored: decided by the seed alone.

A plan is that of the whole batch, whatever the number of workers that share it, and any step's can
be made again: so a training that was interrupted goes on with the very images it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np

from fcos_core.config import InputConfig
from fcos_core.training.examples import common_shape
from jobs.settings.train import TrainConfig

_ORDER, _AUGMENTATION = 0, 1  # streams of random numbers that must not meet


@dataclass(frozen=True)
class BatchPlan:
    """What one step learns from.

    Attributes:
        indices: of the images; one may come twice where an epoch ends.
        is_flipped: which of them are mirrored.
        min_size: length of the shorter side.
        padded_shape: height and width of the network's input, from the annotated sizes.
    """

    indices: tuple[int, ...]
    is_flipped: tuple[bool, ...]
    min_size: int
    padded_shape: tuple[int, int]

    def input(self, config: InputConfig) -> InputConfig:
        """The model's input settings at this step's size."""
        return replace(config, min_size_px=self.min_size)


def plan_batches(
    sizes: Sequence[tuple[int, int]],
    config: TrainConfig,
    input_config: InputConfig,
    *,
    first_step: int = 0,
) -> Iterator[BatchPlan]:
    """Plan the steps of a training.

    Args:
        sizes: height and width of every image, as annotated.
        config: batch size, number of steps, augmentation, seed.
        input_config: of the model.
        first_step: leave out the steps before this one.

    Yields:
        A plan for each step that is left.
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
        As many indices as a batch has, once there are enough of an orientation; so every image
        is seen as often as any other, though not in step with the epochs.
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
    """Shuffle every epoch anew, without end.

    Yields:
        Indices, each once in every epoch.
    """
    for epoch in count():
        for index in np.random.default_rng([seed, _ORDER, epoch]).permutation(num_images):
            yield int(index)
