"""The settings in which FCOS implementations differ, and three named presets.

Sources of every choice: the papers (arXiv 1904.01355 and 2006.09214), the authors' code
(tianzhi0549/FCOS), AdelaiDet, and torchvision's ``models/detection/fcos.py``.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, cast, get_args

from fcos_core.errors import ConfigError

BackboneName = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
]
SCALABLE_BACKBONES = ("resnet18", "resnet34", "mobilenet_v3_small", "mobilenet_v3_large")
Precision = Literal["fp32", "bf16", "fp16"]
"""Precision of the network's arithmetic; losses and decoding are always float32."""

EngineName = Literal["eager", "folded", "openvino", "cuda"]
"""How the network is executed; ``fcos_core/engines`` holds one module for each."""

PresetName = Literal["paper", "improved", "torchvision"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The BGR means of the Caffe models (102.9801, 115.9465, 122.7717 of 255), in RGB order and 0..1.
CAFFE_MEAN = (122.7717 / 255, 115.9465 / 255, 102.9801 / 255)
CAFFE_STD = (1 / 255, 1 / 255, 1 / 255)
PAPER_SIZE_RANGES = (
    (-1.0, 64.0),
    (64.0, 128.0),
    (128.0, 256.0),
    (256.0, 512.0),
    (512.0, math.inf),
)
# COCO ids run to 90; torchvision has one logit for each id and one for 0, the background.
TORCHVISION_NUM_CLASSES = 91
# A checkpoint's header must not ask for a network that is built for hours.
_NUM_CHANNELS = 3
_MAX_CONVS, _MAX_LEVELS = 64, 32
# torchvision's matcher lets a location learn a box only if 1e8 - area is at least this.
TORCHVISION_LEAST_QUALITY = 1e-5


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How an image is made the network's input.

    Args:
        min_size_px: length the shorter side is resized to.
        max_size_px: length the longer side may not exceed.
        size_divisor: height and width are zero-padded up to a multiple of this.
        mean: mean per channel, RGB, for values in 0..1.
        std: standard deviation per channel, RGB, for values in 0..1.
    """

    min_size_px: int = 800
    max_size_px: int = 1333
    size_divisor: int = 32
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        _at_least("min_size_px", self.min_size_px, 1)
        _at_least("max_size_px", self.max_size_px, self.min_size_px)
        _at_least("size_divisor", self.size_divisor, 1)
        if min(self.std) <= 0:
            raise ConfigError(f"std {self.std}: every value must be > 0")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != _NUM_CHANNELS or not all(map(math.isfinite, values)):
                raise ConfigError(f"{name} {values}: must be three finite numbers")


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The backbone and its feature pyramid.

    Args:
        name: one of torchvision's classification networks.
        width: multiplies the number of channels (``SCALABLE_BACKBONES`` only).
        norm: ``frozen`` batch norm (torchvision's detection models) or trainable ``batch`` norm.
        fpn_channels: channels of P3..P7 and of the head.
    """

    name: BackboneName = "resnet50"
    width: float = 1.0
    norm: Literal["frozen", "batch"] = "frozen"
    fpn_channels: int = 256

    def __post_init__(self) -> None:
        if self.name not in get_args(BackboneName):
            raise ConfigError(
                f"backbone {self.name!r}: must be one of {', '.join(get_args(BackboneName))}"
            )
        if not 0 < self.width <= 1:
            raise ConfigError(f"backbone width {self.width}: must be in (0, 1]")
        if self.width != 1 and self.name not in SCALABLE_BACKBONES:
            raise ConfigError(f"backbone {self.name}: width {self.width:g}, only 1 is possible")
        _at_least("fpn_channels", self.fpn_channels, 1)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The two-branch head, shared by all levels.

    Args:
        num_convs: 3x3 convolutions per branch before the predictors.
        num_groups: groups of the group norm after each convolution.
        centerness_on: the branch that predicts centre-ness: ``classification`` (ICCV) or
            ``regression`` (TPAMI).
        distance_activation: ``exp`` (ICCV) or ``relu`` (TPAMI, torchvision).
        is_scaled_per_level: multiply the raw distances by one learnable number per level.
        are_distances_normalized: the network predicts distances in strides, not in pixels.
        prior_probability: initial classification score everywhere (focal loss paper, section 4.1).
    """

    num_convs: int = 4
    num_groups: int = 32
    centerness_on: Literal["classification", "regression"] = "regression"
    distance_activation: Literal["exp", "relu"] = "relu"
    is_scaled_per_level: bool = True
    are_distances_normalized: bool = True
    prior_probability: float = 0.01

    def __post_init__(self) -> None:
        _at_least("num_convs", self.num_convs, 0)
        _at_most("num_convs", self.num_convs, _MAX_CONVS)
        _at_least("num_groups", self.num_groups, 1)
        if not 0 < self.prior_probability < 1:
            raise ConfigError(f"prior_probability {self.prior_probability}: must be in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class EncodingConfig:
    """Where locations are and which box each one learns.

    Args:
        strides: input pixels per cell, P3 first.
        size_ranges: smallest and largest max(ltrb) in pixels of the boxes that each level learns.
        range_ends: ``closed`` (authors: a distance of exactly 64 is valid on P3 and P4) or
            ``open`` (torchvision: valid on neither).
        location_offset: ``half_stride`` (paper: ``i * s + s // 2``) or ``zero`` (torchvision).
        location_step: ``stride``, or ``grid``: torchvision's ``padded_size // cells``, which is not
            the stride on P6 and P7 unless the stride divides the padded size.
        center_radius: a location must be closer than this many strides to the box centre; None
            admits every location inside the box.
        area_rule: how the smallest of several boxes is found: ``plain`` area, ``inclusive`` (the
            authors' area of ``(w + 1) * (h + 1)``), or ``float32`` (torchvision's ``1e8 - area``,
            where areas that differ by less than about 8 square pixels tie, and boxes of 1e8 square
            pixels are never learnt). The first of equals wins.
    """

    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    size_ranges: tuple[tuple[float, float], ...] = PAPER_SIZE_RANGES
    range_ends: Literal["closed", "open"] = "closed"
    location_offset: Literal["half_stride", "zero"] = "half_stride"
    location_step: Literal["stride", "grid"] = "stride"
    center_radius: float | None = 1.5
    area_rule: Literal["plain", "inclusive", "float32"] = "plain"

    def __post_init__(self) -> None:
        _at_most("number of strides", len(self.strides), _MAX_LEVELS)
        if len(self.strides) != len(self.size_ranges) or not self.strides:
            raise ConfigError(
                f"{len(self.strides)} strides, {len(self.size_ranges)} size ranges: the numbers "
                "must be equal and at least 1"
            )
        for low, high in self.size_ranges:
            if not low < high:
                raise ConfigError(
                    f"size range ({low}, {high}): the lower end must be below the upper"
                )
        if self.center_radius is not None and not self.center_radius > 0:
            raise ConfigError(f"center_radius {self.center_radius}: must be > 0, or none")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The training losses.

    Args:
        focal_alpha: weight of positives in the focal loss.
        focal_gamma: focusing parameter of the focal loss.
        box_loss: ``iou`` (-log IoU) or ``giou`` (1 - GIoU).
        is_box_loss_centerness_weighted: weight each positive by its centre-ness target and divide
            by their sum (authors), instead of counting positives equally (torchvision).
    """

    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    box_loss: Literal["iou", "giou"] = "giou"
    is_box_loss_centerness_weighted: bool = True


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How head outputs are made detections.

    Args:
        score: ``sqrt`` of classification times centre-ness, or their ``product``.
        threshold_on: what must exceed ``score_threshold``: the classification score alone (authors)
            or the final ``score`` (torchvision).
        score_threshold: candidates must lie strictly above.
        top_k_per_level: candidates kept on each level, over all (location, class) pairs.
        nms_iou: a box is dropped if its IoU with a better box of its class is more than this.
        max_detections: detections kept per image.
    """

    score: Literal["sqrt", "product"] = "sqrt"
    threshold_on: Literal["classification", "score"] = "score"
    score_threshold: float = 0.05
    top_k_per_level: int = 1000
    nms_iou: float = 0.6
    max_detections: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold < 1:
            raise ConfigError(f"score_threshold {self.score_threshold}: must be in [0, 1)")
        if not 0 < self.nms_iou <= 1:
            raise ConfigError(f"nms_iou {self.nms_iou}: must be in (0, 1]")
        _at_least("top_k_per_level", self.top_k_per_level, 1)
        _at_least("max_detections", self.max_detections, 1)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The configuration of one FCOS: everything its weights and results depend on."""

    preset: PresetName
    num_classes: int
    input: InputConfig = field(default_factory=InputConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    encoding: EncodingConfig = field(default_factory=EncodingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        _at_least("num_classes", self.num_classes, 1)
        channels, groups = self.backbone.fpn_channels, self.head.num_groups
        if channels % groups:
            raise ConfigError(f"fpn_channels {channels}: must be a multiple of num_groups {groups}")


def paper(num_classes: int = 80, backbone: BackboneName = "resnet50") -> ModelConfig:
    """FCOS as in the ICCV paper.

    Centre-ness beside classification, exp distances in pixels, no centre sampling.
    """
    return ModelConfig(
        preset="paper",
        num_classes=num_classes,
        input=InputConfig(mean=CAFFE_MEAN, std=CAFFE_STD),
        backbone=BackboneConfig(name=backbone),
        head=HeadConfig(
            centerness_on="classification",
            distance_activation="exp",
            are_distances_normalized=False,
        ),
        encoding=EncodingConfig(center_radius=None, area_rule="inclusive"),
        loss=LossConfig(box_loss="iou"),
        decoding=DecodingConfig(threshold_on="classification"),
    )


def improved(num_classes: int = 80, backbone: BackboneName = "resnet50") -> ModelConfig:
    """The paper's improvements.

    Centre-ness on regression, centre sampling 1.5, GIoU, normalised distances.
    """
    return ModelConfig(
        preset="improved",
        num_classes=num_classes,
        input=InputConfig(mean=CAFFE_MEAN, std=CAFFE_STD),
        backbone=BackboneConfig(name=backbone),
        encoding=EncodingConfig(area_rule="inclusive"),
        decoding=DecodingConfig(threshold_on="classification"),
    )


def torchvision(
    num_classes: int = TORCHVISION_NUM_CLASSES, backbone: BackboneName = "resnet50"
) -> ModelConfig:
    """``torchvision.models.detection.fcos_resnet50_fpn``, number for number."""
    return ModelConfig(
        preset="torchvision",
        num_classes=num_classes,
        backbone=BackboneConfig(name=backbone),
        head=HeadConfig(is_scaled_per_level=False),
        encoding=EncodingConfig(
            size_ranges=((0.0, 64.0), *PAPER_SIZE_RANGES[1:]),
            range_ends="open",
            location_offset="zero",
            location_step="grid",
            area_rule="float32",
        ),
        loss=LossConfig(is_box_loss_centerness_weighted=False),
        decoding=DecodingConfig(score_threshold=0.2),
    )


PRESETS = {"paper": paper, "improved": improved, "torchvision": torchvision}


def preset_config(name: str, num_classes: int, backbone: str = "resnet50") -> ModelConfig:
    """Make the configuration of a preset.

    Raises:
        ConfigError: there is no such preset or no such backbone.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}: must be one of {', '.join(PRESETS)}")
    return PRESETS[name](num_classes, cast("BackboneName", backbone))


def config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Convert to lists, numbers and strings for JSON; infinity becomes the string ``inf``."""
    return plain_values(asdict(config))


def plain_values(values: Mapping[str, object]) -> dict[str, Any]:
    """Replace tuples by lists and infinity by the string ``inf``, at any depth."""
    return cast("dict[str, Any]", _plain(dict(values)))


def config_from_dict(values: Mapping[str, Any]) -> ModelConfig:
    """Undo :func:`config_to_dict`.

    Raises:
        ConfigError: a key is missing or unknown, or a value is out of its limits.
    """
    try:
        config = preset_config(str(values["preset"]), int(values["num_classes"]))
        parts = {
            name: _part(getattr(config, name), value)
            for name, value in values.items()
            if name not in {"preset", "num_classes"}
        }
        return replace(config, **parts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"model config: {type(error).__name__}: {error}") from error


Part = TypeVar("Part")


def _part(default: Part, values: Mapping[str, Any]) -> Part:
    assert is_dataclass(default)
    known = {f.name for f in fields(default)}
    for name in values:
        if name not in known:
            raise ConfigError(f"model config: {type(default).__name__} has no {name!r}")
    return cast(
        "Part",
        replace(cast("Any", default), **{name: _frozen(value) for name, value in values.items()}),
    )


def _plain(value: object) -> object:
    match value:
        case dict():
            return {str(k): _plain(v) for k, v in cast("dict[object, object]", value).items()}
        case list() | tuple():
            return [_plain(v) for v in cast("tuple[object, ...]", value)]
        case float() if math.isinf(value):
            return "inf"
        case _:
            return value


def _frozen(value: object) -> object:
    if isinstance(value, list):
        return tuple(_frozen(v) for v in cast("list[object]", value))
    return math.inf if value == "inf" else value


def _at_least(name: str, value: int, limit: int) -> None:
    if value < limit:
        raise ConfigError(f"{name} {value}: must be at least {limit}")


def _at_most(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise ConfigError(f"{name} {value}: must be at most {limit}")
