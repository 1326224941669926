"""Torchvision's FCOS as it is published, for the peers: frozen batch norm, weights from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.fcos import FCOS
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

FPN_CHANNELS = 256


def load_fcos(weights: str | Path, score_threshold: float) -> FCOS:
    """Build ``fcos_resnet50_fpn`` around given weights; its own constructor would download some."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(FPN_CHANNELS, FPN_CHANNELS),
    )
    num_classes = len(state["head.classification_head.cls_logits.bias"])
    model = FCOS(backbone, num_classes, score_thresh=score_threshold)
    model.load_state_dict(state)
    return model.eval()
