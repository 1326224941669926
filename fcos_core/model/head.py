"""The head all levels share: a classification and a regression branch; figure 2 of the paper.

Parameter names are torchvision's. Letters: ``B`` images, ``L`` locations over all levels, ``C``
classes.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fcos_core.config import HeadConfig
from fcos_core.elementwise import exp
from fcos_core.structures import HeadOutputs


def _tower(channels: int, config: HeadConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(config.num_convs):
        layers += [
            _init_normal(nn.Conv2d(channels, channels, kernel_size=3, padding=1)),
            nn.GroupNorm(config.num_groups, channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def _init_normal(conv: nn.Conv2d, bias: float = 0.0) -> nn.Conv2d:
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.constant_(conv.bias, bias)
    return conv


def _predictor(channels: int, outputs: int, bias: float = 0.0) -> nn.Conv2d:
    return _init_normal(nn.Conv2d(channels, outputs, kernel_size=3, padding=1), bias)


def _per_location(maps: Float[Tensor, "B K H W"]) -> Float[Tensor, "B HW K"]:
    return maps.flatten(2).transpose(1, 2)


class ClassificationHead(nn.Module):
    """Class logits, and centre-ness where the ICCV paper has it."""

    def __init__(self, channels: int, num_classes: int, config: HeadConfig) -> None:
        super().__init__()
        self.conv = _tower(channels, config)
        prior = config.prior_probability
        self.cls_logits = _predictor(channels, num_classes, -math.log((1 - prior) / prior))
        self.bbox_ctrness = (
            _predictor(channels, 1) if config.centerness_on == "classification" else None
        )


class RegressionHead(nn.Module):
    """Raw distances, and centre-ness where the improved version has it."""

    def __init__(self, channels: int, config: HeadConfig) -> None:
        super().__init__()
        self.conv = _tower(channels, config)
        self.bbox_reg = _predictor(channels, 4)
        self.bbox_ctrness = (
            _predictor(channels, 1) if config.centerness_on == "regression" else None
        )


class FcosHead(nn.Module):
    """Both branches, run on every level with the same weights.

    ``channels`` are those of every level's map; ``num_levels`` is the number of learnt scales, if
    distances are scaled per level.
    """

    def __init__(
        self, channels: int, num_classes: int, num_levels: int, config: HeadConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.classification_head = ClassificationHead(channels, num_classes, config)
        self.regression_head = RegressionHead(channels, config)
        self.scales = nn.Parameter(torch.ones(num_levels)) if config.is_scaled_per_level else None

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Run the head on P3..P7, each of shape ``(B, channels, rows, columns)``."""
        logits: list[Tensor] = []
        distances: list[Tensor] = []
        centerness: list[Tensor] = []
        for level, feature in enumerate(features):
            for_classes = self.classification_head.conv(feature)
            for_boxes = self.regression_head.conv(feature)
            logits.append(_per_location(self.classification_head.cls_logits(for_classes)))
            distances.append(self._distances(self.regression_head.bbox_reg(for_boxes), level))
            if self.regression_head.bbox_ctrness is not None:
                maps = self.regression_head.bbox_ctrness(for_boxes)
            else:
                assert self.classification_head.bbox_ctrness is not None
                maps = self.classification_head.bbox_ctrness(for_classes)
            centerness.append(maps.flatten(1))
        return HeadOutputs(
            cls_logits=torch.cat(logits, dim=1),
            distances=torch.cat(distances, dim=1),
            centerness_logits=torch.cat(centerness, dim=1),
            level_shapes=tuple((int(f.shape[-2]), int(f.shape[-1])) for f in features),
        )

    def _distances(self, raw: Float[Tensor, "B 4 H W"], level: int) -> Float[Tensor, "B HW 4"]:
        # In float32 also under autocast: exp of a half overflows at 11.1.
        raw = _per_location(raw).float()
        if self.scales is not None:
            raw = raw * self.scales[level].float()
        return exp(raw) if self.config.distance_activation == "exp" else F.relu(raw)
