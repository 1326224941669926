"""The inputs and outputs of FCOS.

Letters: ``D`` detections, ``G`` ground-truth boxes, ``B`` images, ``L`` locations.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fcos_core.category import Category
from fcos_core.errors import AnnotationError

__all__ = ["BACKGROUND", "Category", "Detections", "GroundTruth", "HeadOutputs"]

BACKGROUND = -1
"""The label of a location that learns no box."""


@dataclass(frozen=True)
class Detections:
    """The detections of one image, by falling score.

    Args:
        boxes: xyxy in pixels of the original upright image.
        scores: 0..1.
        labels: class indices from 0.
    """

    boxes: Float[Tensor, "D 4"]
    scores: Float[Tensor, " D"]
    labels: Int64[Tensor, " D"]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class GroundTruth:
    """The boxes of one image.

    Args:
        boxes: xyxy in pixels, of the original image or of the padded input.
        labels: class indices from 0.
    """

    boxes: Float[Tensor, "G 4"]
    labels: Int64[Tensor, " G"]

    def check(self, place: str, num_classes: int) -> None:
        """Refuse boxes that cannot be learnt; call this once, on the CPU, where boxes are read.

        Args:
            place: name of the image in the message.
            num_classes: limit of the labels, which must be smaller.

        Raises:
            AnnotationError: a box is not finite or has no area, or a label is out of range.
        """
        for i in range(len(self.boxes)):
            box = [float(v) for v in self.boxes[i]]
            label = int(self.labels[i])
            x_min, y_min, x_max, y_max = box
            if not all(map(_is_finite, box)):
                raise AnnotationError(f"{place}, box {i}: {box} is not finite")
            if x_max <= x_min:
                raise AnnotationError(f"{place}, box {i}: x_max {x_max:g} <= x_min {x_min:g}")
            if y_max <= y_min:
                raise AnnotationError(f"{place}, box {i}: y_max {y_max:g} <= y_min {y_min:g}")
            if not 0 <= label < num_classes:
                raise AnnotationError(
                    f"{place}, box {i}: label {label}, must be in [0, {num_classes})"
                )

    def to(self, device: torch.device) -> "GroundTruth":
        return GroundTruth(self.boxes.to(device), self.labels.to(device))


@dataclass(frozen=True)
class HeadOutputs:
    """Raw outputs of the head for a batch, all levels concatenated, P3 first, rows before columns.

    Args:
        cls_logits: one logit per class.
        distances: l, t, r, b after the activation; in strides when the model normalises them, else
            in pixels.
        centerness_logits: one logit per location.
        level_shapes: height and width of each level's map.
    """

    cls_logits: Float[Tensor, "B L C"]
    distances: Float[Tensor, "B L 4"]
    centerness_logits: Float[Tensor, "B L"]
    level_shapes: tuple[tuple[int, int], ...]

    def first(self, count: int) -> "HeadOutputs":
        """The outputs of the first ``count`` images; the others only fill the batch."""
        return HeadOutputs(
            self.cls_logits[:count],
            self.distances[:count],
            self.centerness_logits[:count],
            self.level_shapes,
        )

    def is_finite(self) -> Bool[Tensor, " B"]:
        """Whether all outputs of each image are finite; this does not wait for the device."""
        # NaN and infinity survive a sum, which needs no mask as large as the logits.
        outputs = (self.cls_logits, self.distances, self.centerness_logits)
        sums = [output.flatten(1).sum(dim=1, dtype=torch.float32) for output in outputs]
        return torch.stack(sums).isfinite().all(dim=0)


def _is_finite(value: float) -> bool:
    return value - value == 0
