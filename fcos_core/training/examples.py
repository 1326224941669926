"""From images and their boxes to a padded batch on the device.

Letters: ``B`` images, ``H``, ``W`` padded input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.config import InputConfig
from fcos_core.images import CHANNELS, Uint8Image, normalize, padded_shape, resize
from fcos_core.structures import GroundTruth


@dataclass(frozen=True)
class TrainingExample:
    """One image and its boxes, in pixels of the image; ``place`` names the image in messages."""

    image: Uint8Image
    ground_truth: GroundTruth
    place: str


@dataclass(frozen=True)
class TrainingBatch:
    """One worker's share of the batch of one step.

    Args:
        examples: at least one.
        input: sizes and normalisation of this step.
        padded_shape: height and width of the network's input, which hold every image of the step,
            those of other workers included; so they do not depend on the number of workers.
    """

    examples: tuple[TrainingExample, ...]
    input: InputConfig
    padded_shape: tuple[int, int]

    @staticmethod
    def of(examples: Sequence[TrainingExample], config: InputConfig) -> "TrainingBatch":
        """Make the batch of a single worker, padded to its largest image."""
        sizes = [(example.image.shape[0], example.image.shape[1]) for example in examples]
        return TrainingBatch(tuple(examples), config, common_shape(sizes, config))

    def tensors(self, device: torch.device) -> tuple[Float[Tensor, "B 3 H W"], list[GroundTruth]]:
        """Resize, normalise and pad.

        Returns:
            Pixels, channels last in memory, and boxes in pixels of the padded input.
        """
        pixels = torch.empty(
            (len(self.examples), CHANNELS, *self.padded_shape),
            device=device,
            memory_format=torch.channels_last,
        ).zero_()
        truths: list[GroundTruth] = []
        for i, example in enumerate(self.examples):
            image = resize(normalize(example.image, self.input, device)[None], self.input)[0]
            rows, columns = int(image.shape[-2]), int(image.shape[-1])
            pixels[i, :, :rows, :columns] = image
            height, width = example.image.shape[:2]
            scale = torch.tensor([columns / width, rows / height]).repeat(2)
            truth = example.ground_truth
            truths.append(GroundTruth(truth.boxes * scale, truth.labels).to(device))
        return pixels, truths


def common_shape(sizes: Sequence[tuple[int, int]], config: InputConfig) -> tuple[int, int]:
    """Height and width of the padded input that holds images of all these heights and widths."""
    shapes = [padded_shape(height, width, config) for height, width in sizes]
    return max(rows for rows, _ in shapes), max(columns for _, columns in shapes)
