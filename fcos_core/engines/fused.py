"""The network rebuilt from steps that CUDA computes in one kernel each.

Letters: ``B`` images, ``H``, ``W`` padded input.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fcos_core.elementwise import exp
from fcos_core.engines.operations import PLAIN, Operations
from fcos_core.model.detector import FCOS
from fcos_core.model.head import FcosHead
from fcos_core.structures import HeadOutputs
from fcos_core.torchvision_imports import BasicBlock, models

Bottleneck = models.resnet.Bottleneck

_ALIGNMENT = 8  # tensor cores take output channels by eight


class FusedNetwork(nn.Module):
    """A folded model's network; its residual blocks, stem and head use ``Operations``.

    Other backbones than ResNets and ResNeXts keep their own blocks.

    Args:
        model: without batch norms, and in its final type and memory format; it is changed.
    """

    def __init__(self, model: FCOS) -> None:
        super().__init__()
        self._parts: list[_Part] = []
        _rebuild_blocks(model.backbone.body, self._parts)
        head = _Head(model.head)
        self._parts.append(head)
        self.backbone = model.backbone
        self.head = head

    def use(self, operations: Operations) -> None:
        """Compute the steps in this way from now on."""
        for part in self._parts:
            part.operations = operations

    def norm(self) -> nn.GroupNorm | None:
        """A group norm of the head, if it has one."""
        norms = [module for module in self.head.modules() if isinstance(module, nn.GroupNorm)]
        return norms[0] if norms else None

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """Raw outputs, as the model's own ``forward`` gives them."""
        return self.head(list(self.backbone(pixels).values()))


class _Part(nn.Module):
    """A module that computes its steps by ``operations``."""

    operations: Operations = PLAIN


class _ConvRelu(_Part):
    """The stem: convolution, folded norm and ReLU."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, maps: Tensor) -> Tensor:
        return self.operations.conv_relu(maps, self.conv)


class _ResidualBlock(_Part):
    """torchvision's ``BasicBlock`` or ``Bottleneck``."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        convs = [block.conv1, block.conv2]
        if isinstance(block, Bottleneck):
            convs.append(block.conv3)
        self.convs = nn.ModuleList(convs)
        self.shortcut: nn.Conv2d | None = None
        if block.downsample is not None:
            self.shortcut = cast("nn.Conv2d", cast("nn.Sequential", block.downsample)[0])
            _move_bias(self.shortcut, convs[-1])

    def forward(self, maps: Tensor) -> Tensor:
        out = maps
        for conv in self.convs[:-1]:
            out = self.operations.conv_relu(out, cast("nn.Conv2d", conv))
        added = maps if self.shortcut is None else self.shortcut(maps)
        return self.operations.conv_add_relu(out, cast("nn.Conv2d", self.convs[-1]), added)


def _move_bias(source: nn.Conv2d, target: nn.Conv2d) -> None:
    """Add one bias to another: what is added last need not be added in a pass of its own."""
    assert source.bias is not None
    assert target.bias is not None
    total = target.bias.float() + source.bias.float()
    target.bias = nn.Parameter(total.to(target.bias.dtype), requires_grad=False)
    source.bias = None


def _rebuild_blocks(body: nn.Module, parts: list[_Part]) -> None:
    children = dict(body.named_children())
    is_residual = any(isinstance(m, BasicBlock | Bottleneck) for m in body.modules())
    if is_residual:
        stem = _ConvRelu(cast("nn.Conv2d", children["conv1"]))
        parts.append(stem)
        setattr(body, "conv1", stem)  # noqa: B010 -- the body is a ModuleDict, whose type has none
        setattr(body, "relu", nn.Identity())  # noqa: B010
    for parent in list(body.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BasicBlock | Bottleneck):
                block = _ResidualBlock(child)
                parts.append(block)
                setattr(parent, name, block)


class _Head(_Part):
    """Both branches of the head, layer by layer over all levels.

    Convolutions with the same input are one, with as many channels as tensor cores like.
    """

    def __init__(self, head: FcosHead) -> None:
        super().__init__()
        self.config = head.config
        self.scales = head.scales
        self.class_tower, self.box_tower = (
            head.classification_head.conv,
            head.regression_head.conv,
        )
        for_classes = [head.classification_head.cls_logits]
        for_boxes = [head.regression_head.bbox_reg]
        is_beside_classes = head.regression_head.bbox_ctrness is None
        centerness = (
            head.classification_head.bbox_ctrness
            if is_beside_classes
            else head.regression_head.bbox_ctrness
        )
        assert centerness is not None
        (for_classes if is_beside_classes else for_boxes).append(centerness)
        self.num_classes = for_classes[0].out_channels
        self.class_conv, self.box_conv = _joined(for_classes), _joined(for_boxes)
        self.is_centerness_beside_classes = is_beside_classes

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Run the head on P3..P7, each of shape ``(B, channels, rows, columns)``."""
        for_classes = [self.class_conv(maps) for maps in self._tower(self.class_tower, features)]
        for_boxes = [self.box_conv(maps) for maps in self._tower(self.box_tower, features)]
        beside, channel = (
            (for_classes, self.num_classes)
            if self.is_centerness_beside_classes
            else (for_boxes, _NUM_SIDES)
        )
        return HeadOutputs(
            cls_logits=torch.cat(
                [_per_location(m)[..., : self.num_classes] for m in for_classes], 1
            ),
            distances=self._distances(for_boxes),
            centerness_logits=torch.cat([m[:, channel].flatten(1) for m in beside], dim=1),
            level_shapes=tuple((int(f.shape[-2]), int(f.shape[-1])) for f in features),
        )

    def _tower(self, tower: nn.Sequential, features: Sequence[Tensor]) -> Sequence[Tensor]:
        layers = list(tower.children())
        for start in range(0, len(layers), _MODULES_PER_LAYER):
            conv, norm = layers[start], layers[start + 1]
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.GroupNorm)
            features = self.operations.conv_norm_relu(features, conv, norm)
        return features

    def _distances(self, maps: Sequence[Tensor]) -> Float[Tensor, "B L 4"]:
        levels = [_per_location(level)[..., :_NUM_SIDES].float() for level in maps]
        if self.scales is not None:
            levels = [level * scale for level, scale in zip(levels, self.scales, strict=True)]
        # As in the model's own head: level by level, for exp's last bits depend on a tensor's size.
        if self.config.distance_activation == "exp":
            return torch.cat([exp(level) for level in levels], dim=1)
        return torch.cat(levels, dim=1).relu_()


_NUM_SIDES = 4
_MODULES_PER_LAYER = 3  # convolution, group norm, ReLU


def _per_location(maps: Float[Tensor, "B K H W"]) -> Float[Tensor, "B HW K"]:
    return maps.flatten(2).transpose(1, 2)


def _joined(convs: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """One convolution for several of the same input; unused outputs fill its last eight."""
    weights = [conv.weight for conv in convs]
    biases = [cast("Tensor", conv.bias) for conv in convs]
    count = sum(conv.out_channels for conv in convs)
    padding = -count % _ALIGNMENT
    weight = F.pad(torch.cat(weights), (0, 0, 0, 0, 0, 0, 0, padding))
    joined = nn.Conv2d(1, 1, kernel_size=3, padding=1)  # as all predictors; its weights follow
    joined.in_channels, joined.out_channels = convs[0].in_channels, count + padding
    joined.weight = nn.Parameter(
        weight.contiguous(memory_format=torch.channels_last), requires_grad=False
    )
    joined.bias = nn.Parameter(F.pad(torch.cat(biases), (0, padding)), requires_grad=False)
    return joined
