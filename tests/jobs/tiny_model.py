"""A tiny FCOS with seeded random weights: fast, and with detections on any image."""

from dataclasses import replace
from pathlib import Path

import torch

from fcos_core import FCOS, Category, save_checkpoint
from fcos_core.config import BackboneConfig, DecodingConfig, HeadConfig, InputConfig, improved


def tiny_model(seed: int = 0) -> FCOS:
    """Build it; its three categories have the ids 3, 7 and 11."""
    torch.manual_seed(seed)
    config = replace(
        improved(num_classes=3, backbone="resnet18"),
        input=InputConfig(min_size_px=64, max_size_px=128),
        backbone=BackboneConfig(name="resnet18", width=0.125, norm="batch", fpn_channels=32),
        head=HeadConfig(num_convs=1, num_groups=8, prior_probability=0.3),
        decoding=DecodingConfig(max_detections=20),
    )
    categories = [Category(id=i, name=f"thing_{i}") for i in (3, 7, 11)]
    return FCOS(config, categories)


def save_tiny(folder: Path, seed: int = 0) -> Path:
    """Write it as a checkpoint."""
    path = folder / f"tiny-{seed}.safetensors"
    save_checkpoint(path, tiny_model(seed))
    return path
