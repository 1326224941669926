"""The network, from a padded batch to raw outputs and losses.

Letters: ``B`` images, ``L`` locations over all levels, ``H``, ``W`` padded input.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fcos_core.category import Category, check_categories
from fcos_core.config import ModelConfig, preset_config
from fcos_core.locations import LocationGrid, location_grid
from fcos_core.losses import Losses, Normalizers, compute_losses
from fcos_core.model.fpn import PyramidBackbone
from fcos_core.model.head import FcosHead
from fcos_core.structures import GroundTruth, HeadOutputs
from fcos_core.targets import Targets, encode


class FCOS(nn.Module):
    """An FCOS detector for padded, normalised batches; ``fcos_core.Predictor`` takes images.

    Args:
        config: everything the results depend on.
        categories: one per label; by default the ids equal the labels.

    Raises:
        ConfigError: the number of categories differs from the number of classes.
    """

    def __init__(self, config: ModelConfig, categories: Sequence[Category] | None = None) -> None:
        super().__init__()
        if categories is None:
            categories = [Category(id=i, name=f"class_{i}") for i in range(config.num_classes)]
        check_categories(config, categories)
        self.config = config
        self.categories = tuple(categories)
        self.backbone = PyramidBackbone(config.backbone)
        self.head = FcosHead(
            config.backbone.fpn_channels,
            config.num_classes,
            len(config.encoding.strides),
            config.head,
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """Raw outputs for a normalised batch, padded to multiples of the size divisor."""
        return self.head(list(self.backbone(images).values()))

    def grid(self, images: Float[Tensor, "B 3 H W"], outputs: HeadOutputs) -> LocationGrid:
        """The locations of the outputs of this batch."""
        shape = (int(images.shape[-2]), int(images.shape[-1]))
        return location_grid(
            shape, outputs.level_shapes, self.config.encoding, outputs.distances.device
        )

    def losses(
        self, images: Float[Tensor, "B 3 H W"], ground_truths: Sequence[GroundTruth]
    ) -> Losses:
        """Forward pass, ground-truth encoding and the three losses.

        The images are normalised and padded; the ground truth is in pixels of the padded input.
        """
        outputs = self(images)
        return self.losses_of(images, outputs, self.targets_of(images, outputs, ground_truths))

    def targets_of(
        self,
        images: Float[Tensor, "B 3 H W"],
        outputs: HeadOutputs,
        ground_truths: Sequence[GroundTruth],
    ) -> Targets:
        """The targets of each location of these outputs."""
        return encode(ground_truths, self.grid(images, outputs), self.config.encoding)

    def losses_of(
        self,
        images: Float[Tensor, "B 3 H W"],
        outputs: HeadOutputs,
        targets: Targets,
        normalizers: Normalizers | None = None,
    ) -> Losses:
        """The losses of outputs and targets already computed; ``images`` gives only the shape."""
        grid = self.grid(images, outputs)
        return compute_losses(
            outputs,
            targets,
            grid,
            self.config.loss,
            unit_px=self.distance_unit_px(grid),
            normalizers=normalizers,
        )

    def distance_unit_px(self, grid: LocationGrid) -> Float[Tensor, " L"]:
        """Length of one unit of the head's distances in pixels, per location."""
        if self.config.head.are_distances_normalized:
            return grid.strides
        return torch.ones_like(grid.strides)


def build_model(
    preset: str = "torchvision",
    num_classes: int = 91,
    backbone: str = "resnet50",
    *,
    categories: Sequence[Category] | None = None,
) -> FCOS:
    """Build a named FCOS with random weights.

    Args:
        preset: ``paper``, ``improved`` or ``torchvision``; with ``torchvision`` the state dict has
            torchvision's 319 names.
        num_classes: logits per location.
        backbone: see ``fcos_core.config.BackboneName``.
        categories: one per label.

    Raises:
        ConfigError: there is no such preset or backbone.
    """
    return FCOS(preset_config(preset, num_classes, backbone), categories)
