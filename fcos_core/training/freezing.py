"""Freezing the backbone's first stages, as detectron2's ``freeze_at`` does."""

from collections.abc import Sequence

from torch import nn

from fcos_core.model.detector import FCOS

NUM_STAGES = 5


def freeze_stages(model: FCOS, count: int) -> None:
    """Freeze the first stages: no gradients, and batch norm with fixed statistics.

    Call this after every ``model.train()``. A count of 0 freezes nothing, 1 the stem, 2 the stem
    and C2, ... 5 the whole body; it is 5 minus ``trainable_layers`` of torchvision's models.
    """
    for module in [m for stage in backbone_stages(model)[:count] for m in stage]:
        module.requires_grad_(False).eval()  # noqa: FBT003 (torch's)


def backbone_stages(model: FCOS) -> list[Sequence[nn.Module]]:
    """The body's modules by stage: the stem, then C2 to C5; each stage halves the resolution.

    A ResNet's pooling belongs to its stem, which therefore halves the resolution twice.
    """
    named = dict(model.backbone.body.named_children())
    if "layer1" in named:
        stem = [module for name, module in named.items() if not name.startswith("layer")]
        return [stem, *([named[f"layer{i}"]] for i in range(1, NUM_STAGES))]
    stages: list[list[nn.Module]] = []
    for i, block in enumerate(named.values()):
        # torchvision marks the blocks of a MobileNet that have stride 2; its stem is not marked.
        if i == 0 or getattr(block, "_is_cn", False):
            stages.append([])
        stages[-1].append(block)
    return [tuple(stage) for stage in stages]
