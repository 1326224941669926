"""The three losses: focal, box IoU or GIoU, centre-ness; sections 3.1 and 3.2.

Letters: ``B`` images, ``L`` locations, ``C`` classes, ``P`` positive locations, ``N`` any number.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fcos_core.boxes import giou, ltrb_to_boxes
from fcos_core.config import LossConfig
from fcos_core.locations import LocationGrid
from fcos_core.structures import HeadOutputs
from fcos_core.targets import Targets

_LEAST_CENTERNESS = 1e-6


@dataclass(frozen=True)
class Losses:
    """The three losses of a batch; training minimises their sum."""

    classification: Float[Tensor, ""]
    box: Float[Tensor, ""]
    centerness: Float[Tensor, ""]

    def total(self) -> Float[Tensor, ""]:
        """The sum; the paper weighs the three equally."""
        return self.classification + self.box + self.centerness


def sigmoid_focal_loss(
    logits: Float[Tensor, "*N"], is_positive: Float[Tensor, "*N"], *, alpha: float, gamma: float
) -> Float[Tensor, ""]:
    """Sum of the focal loss (arXiv 1708.02002, equation 5) over all elements.

    Args:
        logits: values before the sigmoid.
        is_positive: 1 where the class is present, else 0.
        alpha: weight of positives; negatives get ``1 - alpha``.
        gamma: focusing parameter; the larger, the less easy examples count.
    """
    probability = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, is_positive, reduction="none")
    miss = probability + is_positive - 2 * probability * is_positive
    weight = alpha * is_positive + (1 - alpha) * (1 - is_positive)
    return (weight * cross_entropy * miss**gamma).sum()


def box_loss(
    predicted: Float[Tensor, "P 4"], boxes: Float[Tensor, "P 4"], config: LossConfig
) -> Float[Tensor, " P"]:
    """``-log IoU`` (with the authors' +1 smoothing) or ``1 - GIoU`` of each pair of xyxy boxes."""
    if config.box_loss == "giou":
        return 1 - giou(predicted, boxes)
    overlap = (
        torch.minimum(predicted[:, 2:], boxes[:, 2:])
        - torch.maximum(predicted[:, :2], boxes[:, :2])
    ).clamp(min=0)
    intersection = overlap[:, 0] * overlap[:, 1]
    size, other = predicted[:, 2:] - predicted[:, :2], boxes[:, 2:] - boxes[:, :2]
    union = size[:, 0] * size[:, 1] + other[:, 0] * other[:, 1] - intersection
    return -torch.log((intersection + 1) / (union + 1))


def loss_counts(targets: Targets) -> Float[Tensor, "2"]:
    """Number of positives and sum of their centre-ness targets, for :meth:`Normalizers.of`."""
    num_positives = (targets.labels >= 0).sum()
    return torch.stack([num_positives.float(), targets.centerness.sum()])


@dataclass(frozen=True)
class Normalizers:
    """Divisors of the losses, which are sums over a batch.

    Args:
        positives: divisor of the classification and centre-ness losses, and of an unweighted box
            loss.
        centerness: divisor of a box loss weighted by centre-ness.
    """

    positives: Float[Tensor, ""]
    centerness: Float[Tensor, ""]

    @staticmethod
    def of(counts: Float[Tensor, "2"], *, num_workers: int = 1) -> "Normalizers":
        """Make the divisors of one worker's losses, which are never zero.

        Args:
            counts: the result of :func:`loss_counts`, summed over all workers.
            num_workers: number of workers that average their gradients; the divisors are smaller by
                this factor, so that the mean of the workers' losses is the loss of the whole batch.
        """
        return Normalizers(
            positives=counts[0].clamp(min=1) / num_workers,
            centerness=counts[1].clamp(min=_LEAST_CENTERNESS) / num_workers,
        )


def compute_losses(
    outputs: HeadOutputs,
    targets: Targets,
    grid: LocationGrid,
    config: LossConfig,
    *,
    unit_px: Float[Tensor, " L"],
    normalizers: Normalizers | None = None,
) -> Losses:
    """The three losses of a batch, computed in float32.

    Args:
        outputs: outputs of the head.
        targets: targets of the same images and grid.
        grid: the locations.
        config: the kinds and constants of the losses.
        unit_px: length of one unit of ``outputs.distances`` in pixels, per location.
        normalizers: by default those of this batch alone; a distributed step counts over all
            workers (the authors' normalisation).

    Returns:
        Scalars. Without positives the box and centre-ness losses are exactly zero, but still part
        of the graph, so that a distributed step has a gradient for every parameter.
    """
    if normalizers is None:
        normalizers = Normalizers.of(loss_counts(targets))
    cls_logits = outputs.cls_logits.float()
    one_hot = torch.zeros_like(cls_logits)
    image, location = torch.nonzero(targets.labels >= 0, as_tuple=True)
    one_hot[image, location, targets.labels[image, location]] = 1.0
    classification = sigmoid_focal_loss(
        cls_logits, one_hot, alpha=config.focal_alpha, gamma=config.focal_gamma
    )

    ltrb = outputs.distances[image, location].float() * unit_px[location, None]
    predicted = ltrb_to_boxes(grid.points[location], ltrb)
    centerness_targets = targets.centerness[image, location]
    per_box = box_loss(predicted, targets.boxes[image, location], config)
    if config.is_box_loss_centerness_weighted:
        box = (per_box * centerness_targets).sum() / normalizers.centerness
    else:
        box = per_box.sum() / normalizers.positives
    centerness = F.binary_cross_entropy_with_logits(
        outputs.centerness_logits[image, location].float(), centerness_targets, reduction="sum"
    )
    return Losses(classification / normalizers.positives, box, centerness / normalizers.positives)
