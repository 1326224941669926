"""The rules by which a ground-truth box counts as recalled, by name, each with its source.

A rule fixes every choice in which published implementations differ: how the image is resized, which
pixels a box covers, where locations or anchors lie, and which box each of them gets.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from fcos_core.config import PAPER_SIZE_RANGES, EncodingConfig, plain_values
from fcos_core.errors import ConfigError

DEFAULT_RULES = ("paper", "improved", "torchvision")
CUSTOM_RULE = "custom"


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """How an annotated box gets into the network's padded input.

    Args:
        min_size_px: length the shorter side of the image is resized to.
        max_size_px: length the longer side may not exceed.
        size_divisor: height and width are zero-padded up to a multiple of this.
        resize: ``short_side``, as maskrcnn-benchmark and the authors do (the shorter side is exact,
            the longer one truncated), or ``floor``, as torchvision does (both sides truncated).
        boxes: ``legacy``: the last pixel belongs to the box, so it ends at ``x + max(w - 1, 0)``
            (the authors, ``TO_REMOVE = 1``); ``plain``: it ends at ``x + w``.
        precision: of the arithmetic.
    """

    min_size_px: int = 800
    max_size_px: int = 1333
    size_divisor: int = 32
    resize: Literal["short_side", "floor"] = "short_side"
    boxes: Literal["legacy", "plain"] = "legacy"
    precision: Literal["float64", "float32"] = "float64"

    def __post_init__(self) -> None:
        if self.min_size_px < 1:
            raise ConfigError(f"min size {self.min_size_px}: must be at least 1 px")
        if self.max_size_px < self.min_size_px:
            raise ConfigError(
                f"max size {self.max_size_px}: must be at least the min size, {self.min_size_px}"
            )


@dataclass(frozen=True, kw_only=True)
class LocationRule:
    """A box is recalled when at least one location of FCOS learns it.

    Args:
        name: what the rule is called in commands and tables.
        source: publication or code that defines the rule.
        frame: from the annotation to the padded input.
        encoding: where the locations are and which box each one learns.
    """

    name: str
    source: str
    frame: FrameRule = field(default_factory=FrameRule)
    encoding: EncodingConfig

    @property
    def strides_px(self) -> tuple[int, ...]:
        return self.encoding.strides

    def describe(self) -> dict[str, Any]:
        """Every choice the rule fixes, in plain values for JSON; infinity is ``inf``."""
        return plain_values({"source": self.source, **asdict(self.frame), **asdict(self.encoding)})


@dataclass(frozen=True, kw_only=True)
class AnchorRule:
    """A box is recalled when at least one anchor of RetinaNet is matched to it.

    Args:
        name: what the rule is called in commands and tables.
        source: publication or code that defines the rule.
        frame: from the annotation to the padded input.
        low_quality_iou: a box that reaches no anchor with ``positive_iou`` still gets its best ones
            when their IoU is at least this; None: it gets nothing; 0: any IoU above zero is enough.
        positive_iou: an anchor is matched to its best box from this IoU on.
        strides: input pixels per cell, P3 first.
        sizes_px: side of the square anchor at each level, before octaves and ratios.
        ratios: height over width.
        scales_per_octave: anchors of one ratio between a size and twice that size.
    """

    name: str
    source: str
    frame: FrameRule = field(default_factory=FrameRule)
    low_quality_iou: float | None
    positive_iou: float = 0.5
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    sizes_px: tuple[int, ...] = (32, 64, 128, 256, 512)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    scales_per_octave: int = 3

    @property
    def strides_px(self) -> tuple[int, ...]:
        return self.strides

    def describe(self) -> dict[str, Any]:
        """Every choice the rule fixes, in plain values for JSON."""
        own = {name: value for name, value in asdict(self).items() if name not in {"name", "frame"}}
        return plain_values({**own, **asdict(self.frame)})


Rule = LocationRule | AnchorRule


def paper() -> LocationRule:
    """Table 1 of the ICCV paper, FCOS with FPN: every location inside the box may learn it."""
    return LocationRule(
        name="paper",
        source="FCOS, ICCV 2019 (arXiv 1904.01355), tables 1 and 2, and the authors' code: resize "
        "800/1333, legacy boxes, closed ranges, no centre sampling",
        encoding=EncodingConfig(center_radius=None, area_rule="inclusive"),
    )


def paper_p4() -> LocationRule:
    """Table 1 of the ICCV paper, FCOS without FPN: only P4, for boxes of any size."""
    return LocationRule(
        name="paper-p4",
        source="FCOS, ICCV 2019 (arXiv 1904.01355), tables 1 and 2, row without FPN: stride 16, "
        "one unbounded range",
        encoding=EncodingConfig(
            strides=(16,),
            size_ranges=((-1.0, math.inf),),
            center_radius=None,
            area_rule="inclusive",
        ),
    )


def improved() -> LocationRule:
    """The paper's improvements: only locations within 1.5 strides of the centre."""
    return LocationRule(
        name="improved",
        source="the authors' code with centre sampling, as in AdelaiDet: radius 1.5 strides, cut "
        "off at the box; legacy boxes",
        encoding=EncodingConfig(center_radius=1.5, area_rule="inclusive"),
    )


def torchvision() -> LocationRule:
    """``torchvision.models.detection.FCOS``, its matcher and its locations."""
    return LocationRule(
        name="torchvision",
        source="torchvision's models/detection/fcos.py: locations without half a stride, open "
        "ranges, float32, areas that differ by less than about 8 square pixels tie",
        frame=FrameRule(resize="floor", boxes="plain", precision="float32"),
        encoding=EncodingConfig(
            size_ranges=((0.0, 64.0), *PAPER_SIZE_RANGES[1:]),
            range_ends="open",
            location_offset="zero",
            location_step="grid",
            area_rule="float32",
        ),
    )


def retinanet(name: str, low_quality_iou: float | None) -> AnchorRule:
    """Table 1 of the ICCV paper, RetinaNet, as maskrcnn-benchmark matches anchors."""
    kept = "none" if low_quality_iou is None else f"from IoU {low_quality_iou:g}"
    return AnchorRule(
        name=name,
        source="FCOS, ICCV 2019 (arXiv 1904.01355), table 1, and maskrcnn-benchmark's matcher: 9 "
        f"anchors per cell, IoU 0.5, low-quality matches: {kept}",
        low_quality_iou=low_quality_iou,
    )


def named_rule(name: str) -> Rule:
    """The rule of this name.

    Raises:
        ConfigError: there is no such rule.
    """
    if name not in _RULES:
        raise ConfigError(f"rule {name!r}: must be one of {', '.join(_RULES)}")
    return _RULES[name]


def rule_of_preset(
    preset: str, *, min_size_px: int | None = None, max_size_px: int | None = None
) -> Rule:
    """The rule by which a model learns: its preset's, at its own input size.

    A preset without a rule gets the first of ``DEFAULT_RULES``; sizes default to the preset's.
    """
    rule = named_rule(preset if preset in DEFAULT_RULES else DEFAULT_RULES[0])
    sizes = {"min_size_px": min_size_px, "max_size_px": max_size_px}
    own = {name: size for name, size in sizes.items() if size is not None}
    return replace(rule, frame=replace(rule.frame, **own))


def rule_names() -> tuple[str, ...]:
    """All named rules, the paper's first."""
    return tuple(_RULES)


def custom_rule(
    *,
    strides: Sequence[int] | None = None,
    size_ranges: Sequence[tuple[float, float]] | None = None,
    center_radius: float | None = None,
    min_size_px: int | None = None,
    max_size_px: int | None = None,
    boxes: Literal["legacy", "plain"] | None = None,
) -> LocationRule:
    """The paper's rule with some choices changed.

    Args:
        strides: input pixels per cell, the finest level first.
        size_ranges: smallest and largest max(ltrb) of each level, ends included; by default they
            continue the paper's: up to 8 strides, the last one without limit.
        center_radius: of centre sampling, in strides; by default anywhere in the box.
        min_size_px: as in ``FrameRule``; the limit of the longer side grows with it unless given.
        max_size_px: as in ``FrameRule``.
        boxes: as in ``FrameRule``.

    Raises:
        ConfigError: a choice is out of its limits.
    """
    base = paper()
    strides = tuple(strides or base.encoding.strides)
    if any(stride < 1 for stride in strides):
        raise ConfigError(f"strides {strides}: every one must be at least 1 px")
    encoding = replace(
        base.encoding,
        strides=strides,
        size_ranges=tuple(size_ranges) if size_ranges else _doubling_ranges(strides),
        center_radius=center_radius,
    )
    min_size_px = base.frame.min_size_px if min_size_px is None else min_size_px
    frame = replace(
        base.frame,
        min_size_px=min_size_px,
        max_size_px=max(base.frame.max_size_px, min_size_px)
        if max_size_px is None
        else max_size_px,
        boxes=boxes or base.frame.boxes,
    )
    return LocationRule(
        name=CUSTOM_RULE, source="the paper's rule, changed", frame=frame, encoding=encoding
    )


def _doubling_ranges(strides: Sequence[int]) -> tuple[tuple[float, float], ...]:
    """The paper's ranges for these strides: P3 ends at 8 strides, where P4 begins."""
    upper = [8.0 * stride for stride in strides[:-1]] + [math.inf]
    return tuple(zip([-1.0, *upper[:-1]], upper, strict=True))


_RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        paper(),
        paper_p4(),
        improved(),
        torchvision(),
        retinanet("retinanet-none", None),
        retinanet("retinanet-0.4", 0.4),
        retinanet("retinanet-all", 0.0),
    )
}
