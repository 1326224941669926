"""What decoding passes on. Letters: ``B`` images, ``D`` places for detections, ``N`` pairs."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class DecodedBatch:
    """Detections of a batch by falling score; image ``i`` has the first ``counts[i]`` places.

    Args:
        boxes: xyxy in pixels of the padded input.
        scores: 0..1.
        labels: class indices.
        counts: number of detections of each image.
        is_exact: false for an image whose detections the form's limits may have changed.
    """

    boxes: Float[Tensor, "B D 4"]
    scores: Float[Tensor, "B D"]
    labels: Int64[Tensor, "B D"]
    counts: Int64[Tensor, " B"]
    is_exact: Bool[Tensor, " B"]

    def cpu(self) -> "DecodedBatch":
        """The detections on the CPU; this waits for their device."""
        return DecodedBatch(
            self.boxes.cpu(),
            self.scores.cpu(),
            self.labels.cpu(),
            self.counts.cpu(),
            self.is_exact.cpu(),
        )

    def widened(self, width: int) -> "DecodedBatch":
        """A copy with at least ``width`` places for detections."""
        more = max(0, width - self.scores.shape[1])
        return DecodedBatch(
            F.pad(self.boxes, (0, 0, 0, more)),
            F.pad(self.scores, (0, more)),
            F.pad(self.labels, (0, more)),
            self.counts.clone(),
            self.is_exact.clone(),
        )


@dataclass(frozen=True)
class Candidates:
    """The input of NMS, image by image; an image's are in the order of its pairs.

    Args:
        boxes: xyxy in pixels of the padded input.
        scores: 0..1.
        labels: class indices.
        counts: number of candidates of each image.
    """

    boxes: Float[Tensor, "N 4"]
    scores: Float[Tensor, " N"]
    labels: Int64[Tensor, " N"]
    counts: tuple[int, ...]


def class_plane_sizes(sizes: Float[Tensor, "B 2"]) -> Float64[Tensor, " B"]:
    """How far the boxes of two classes are moved apart for NMS: more than an image's sides."""
    return sizes.to(torch.float64).amax(dim=1) + 1
