"""Models for tests: torchvision's with seeded but calibrated weights, and small ones."""

from dataclasses import replace

import torch
from torch import nn
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.fcos import FCOS as TORCHVISION_FCOS
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fcos_core import FCOS
from fcos_core.config import BackboneConfig, InputConfig, ModelConfig, preset_config


@torch.no_grad()
def torchvision_state_dict(*, num_classes: int = 91, seed: int = 0, size: int = 256) -> dict:
    """A calibrated random state dict under torchvision's 319 names.

    Residual branches are damped and batch-norm statistics measured: an undamped random ResNet turns
    rounding into noise and would hide, or invent, differences.
    """
    torch.manual_seed(seed)
    model = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=num_classes)
    for name, module in model.named_modules():
        if name.endswith("bn3"):
            nn.init.constant_(module.weight, 0.2)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    images = torch.randn(2, 3, size, size).cumsum(-1).cumsum(-2)
    images = (images - images.mean()) / images.std()
    model.train()
    model.backbone(images)
    model.eval()
    head = model.head
    outputs = head(list(model.backbone(images).values()))
    classes = head.classification_head.cls_logits
    spread = (outputs["cls_logits"] - classes.bias).std()
    classes.weight.mul_(1.3 / spread)
    classes.bias.fill_(-5.0)
    distances = head.regression_head.bbox_reg
    distances.weight.mul_(1.0 / outputs["bbox_regression"].std())
    distances.bias.fill_(3.0)
    return {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}


def torchvision_model(
    state: dict, *, min_size: int = 800, max_size: int = 1333
) -> TORCHVISION_FCOS:
    """The published architecture with frozen batch norm, holding ``state``."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    num_classes = len(state["head.classification_head.cls_logits.bias"])
    model = TORCHVISION_FCOS(backbone, num_classes, min_size=min_size, max_size=max_size)
    model.load_state_dict(state)
    return model.eval()


def our_model(state: dict, *, min_size: int = 800, max_size: int = 1333) -> FCOS:
    """Preset ``torchvision`` holding ``state``."""
    num_classes = len(state["head.classification_head.cls_logits.bias"])
    config = preset_config("torchvision", num_classes)
    size = InputConfig(min_size_px=min_size, max_size_px=max_size)
    model = FCOS(replace(config, input=size))
    model.load_state_dict(state)
    return model.eval()


def small_config(preset: str = "improved", num_classes: int = 3, *, size: int = 64) -> ModelConfig:
    """A quarter-width ResNet-18 with 32 channels: small enough for tests."""
    config = preset_config(preset, num_classes, "resnet18")
    return replace(
        config,
        input=replace(config.input, min_size_px=size, max_size_px=2 * size),
        backbone=BackboneConfig(name="resnet18", width=0.25, norm="batch", fpn_channels=32),
        head=replace(config.head, num_convs=1, num_groups=8),
    )


@torch.no_grad()
def small_model(preset: str = "improved", num_classes: int = 3, *, size: int = 64) -> FCOS:
    """A small random model with detections nearly everywhere."""
    torch.manual_seed(0)
    model = FCOS(small_config(preset, num_classes, size=size))
    nn.init.constant_(model.head.classification_head.cls_logits.bias, -1.0)
    nn.init.normal_(model.head.classification_head.cls_logits.weight, std=0.3)
    nn.init.normal_(model.head.regression_head.bbox_reg.weight, std=0.1)
    nn.init.constant_(model.head.regression_head.bbox_reg.bias, 1.5)
    return model.eval()
