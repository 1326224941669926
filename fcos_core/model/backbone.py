"""C3, C4 and C5 of a torchvision classification network."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from fcos_core.config import BackboneConfig
from fcos_core.torchvision_imports import (
    BasicBlock,
    FrozenBatchNorm2d,
    IntermediateLayerGetter,
    models,
)

RESNET_DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


@dataclass(frozen=True)
class Backbone:
    """A body that returns ``{"0": C3, "1": C4, "2": C5}`` at strides 8, 16, 32; their channels."""

    body: nn.Module
    channels: tuple[int, int, int]


def build_backbone(config: BackboneConfig) -> Backbone:
    """Build the body with random weights."""
    norm = FrozenBatchNorm2d if config.norm == "frozen" else nn.BatchNorm2d
    if config.name.startswith("mobilenet"):
        return _mobilenet(config, norm)
    if config.width != 1.0:
        network: nn.Module = NarrowResNet(RESNET_DEPTHS[config.name], config.width, norm)
        top = round(512 * config.width)
    else:
        network = getattr(models, config.name)(weights=None, norm_layer=norm)
        top = 512 if config.name in RESNET_DEPTHS else 2048
    layers = {"layer2": "0", "layer3": "1", "layer4": "2"}
    return Backbone(IntermediateLayerGetter(network, layers), (top // 4, top // 2, top))


class NarrowResNet(nn.Module):
    """ResNet-18 or 34 of torchvision's basic blocks, with every channel count times ``width``.

    The parameters have torchvision's names.
    """

    def __init__(
        self, depths: tuple[int, ...], width: float, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.inplanes = round(64 * width)
        self.conv1 = nn.Conv2d(3, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for i, depth in enumerate(depths):
            planes = round(64 * 2**i * width)
            self.add_module(
                f"layer{i + 1}", self._make_layer(planes, depth, 1 if i == 0 else 2, norm)
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _make_layer(
        self, planes: int, depth: int, stride: int, norm: Callable[[int], nn.Module]
    ) -> nn.Sequential:
        downsample = None
        if stride != 1 or self.inplanes != planes:
            shortcut = nn.Conv2d(self.inplanes, planes, kernel_size=1, stride=stride, bias=False)
            downsample = nn.Sequential(shortcut, norm(planes))
        blocks = [BasicBlock(self.inplanes, planes, stride, downsample, norm_layer=norm)]
        self.inplanes = planes
        blocks += [BasicBlock(planes, planes, norm_layer=norm) for _ in range(depth - 1)]
        return nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """C5; ``IntermediateLayerGetter`` takes C3 and C4 from the layers before."""
        out = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for i in range(4):
            out = self.get_submodule(f"layer{i + 1}")(out)
        return out


def _mobilenet(config: BackboneConfig, norm: Callable[[int], nn.Module]) -> Backbone:
    def norm_layer(channels: int) -> nn.Module:
        return norm(channels)

    network = getattr(models, config.name)(
        weights=None, width_mult=config.width, norm_layer=norm_layer
    )
    features = network.features
    # The last block of a stride precedes the next stride-2 block: that gives C3 and C4; C5 is the
    # last block.
    starts = [i for i, block in enumerate(features) if getattr(block, "_is_cn", False)]
    ends = (starts[-2] - 1, starts[-1] - 1, len(features) - 1)
    channels = tuple(_out_channels(features[i]) for i in ends)
    body = IntermediateLayerGetter(features, {str(end): str(i) for i, end in enumerate(ends)})
    return Backbone(body, (channels[0], channels[1], channels[2]))


def _out_channels(block: nn.Module) -> int:
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    return convolutions[-1].out_channels
