"""One HTML page per image that shows what FCOS's ground-truth encoding makes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fcos_core.category import Category
from fcos_core.config import EncodingConfig
from fcos_core.target_maps import ImageTargets, LevelTargets
from jobs.html import formats
from jobs.html.page import Page, render
from jobs.html.section import Section
from jobs.html.thumbnail import Thumbnail
from jobs.media.drawing.colors import Pixels, heat_colors, hex_color
from jobs.media.drawing.jpeg import encode_jpeg
from jobs.media.drawing.palette import class_color
from jobs.media.drawing.view import View
from jobs.rendering.targets.box_table import box_table, class_name
from jobs.rendering.targets.panels import (
    SIDE_COLORS,
    centerness_panel,
    class_panel,
    distances_panel,
    ground_truth_panel,
)

KIND = "Ground-truth encoding"
PACKAGE = "jobs.rendering.targets"
_LONGEST_TITLE = 160
_IMAGE_SHAPE = (940, 1280)
_PANEL_SHAPE = (460, 620)
_KEY_STEPS = 32


def targets_page(
    image: Pixels,
    title: str,
    targets: ImageTargets,
    categories: Sequence[Category],
    crowds: npt.NDArray[np.floating],
) -> bytes:
    """Make the HTML page of an image, which is not changed.

    Categories are by label; crowds are xyxy in pixels of the network's input.
    """
    num_boxes, num_recalled = len(targets.boxes), int(targets.outcomes.is_recalled.sum())
    page = Page(
        kind=KIND,
        title=formats.text(title, _LONGEST_TITLE),
        subtitle=(
            f"{_size(targets.image_shape)} px, resized to {_size(targets.resized_shape)} px, "
            f"padded to {_size(targets.padded_shape)} px, the network's input"
        ),
        state=recall_in_words(num_boxes, num_recalled),
        is_good=num_recalled == num_boxes,
        sections=[
            _ground_truth_section(image, targets, categories, crowds),
            _boxes_section(targets, categories),
            *_level_sections(image, targets, categories),
        ],
        package=PACKAGE,
    )
    return render(page)


def recall_in_words(num_boxes: int, num_recalled: int) -> str:
    """Say how many boxes are recalled and how many are lost."""
    if num_boxes == 0:
        return "No boxes"
    boxes = f"{formats.count(num_boxes)} box{'' if num_boxes == 1 else 'es'}"
    lost = formats.count(num_boxes - num_recalled)
    return f"{formats.count(num_recalled)} of {boxes} recalled, {lost} lost"


def _ground_truth_section(
    image: Pixels,
    targets: ImageTargets,
    categories: Sequence[Category],
    crowds: npt.NDArray[np.floating],
) -> Section:
    view = View.of(image, targets.resized_shape, _IMAGE_SHAPE)
    panel = ground_truth_panel(view, targets, categories, crowds)
    num_lost = int((~targets.outcomes.is_recalled).sum())
    about = "The image with its boxes"
    rule = targets.rule
    return Section(
        name="ground-truth",
        title="Ground truth",
        lead=(
            "Each box in the colour of its class, with its number, its class and the levels that "
            "learn it."
        ),
        data={
            "image": _thumbnail(panel, "Ground truth", about),
            "classes": _classes(targets, categories),
            "num_lost": num_lost,
            "num_crowds": len(crowds),
            "counts": _counts(targets),
            "rule": [f"Rule {rule.name}: {rule.source}.", _rule_in_words(rule.encoding)],
        },
    )


def _classes(targets: ImageTargets, categories: Sequence[Category]) -> list[tuple[str, str]]:
    """Name every class that has a box, with the number of its boxes, and give its colour."""
    labels: list[int] = targets.labels.tolist()
    return [
        (f"{class_name(categories[label])} ({count})", hex_color(class_color(categories[label].id)))
        for label, count in sorted(Counter(labels).items())
    ]


def _counts(targets: ImageTargets) -> list[tuple[str, str]]:
    num_ambiguous = int(targets.outcomes.num_ambiguous.sum())
    return [
        ("locations", formats.count(targets.num_locations)),
        ("positive", formats.count(targets.num_positive)),
        ("ambiguous: inside more than one box they could learn", formats.count(num_ambiguous)),
    ]


def _rule_in_words(encoding: EncodingConfig) -> str:
    radius = encoding.center_radius
    near = "" if radius is None else f", less than {radius:g} strides from their centre"
    return (
        f"A location learns the smallest of the boxes it lies in{near}, whose farthest side is in "
        "the range of its level. A box that no location learns is lost."
    )


def _boxes_section(targets: ImageTargets, categories: Sequence[Category]) -> Section:
    name, title = "boxes", "Boxes"
    if not len(targets.boxes):
        reason = "The image has no boxes: every location learns background."
        return Section(name=name, title=title, absent=reason)
    return Section(
        name=name,
        title=title,
        lead=(
            "The size of each box in pixels of the network's input, and how many locations of each "
            "level learn it."
        ),
        data={"table": box_table(targets, categories)},
    )


def _level_sections(
    image: Pixels, targets: ImageTargets, categories: Sequence[Category]
) -> list[Section]:
    view = View.of(image, targets.resized_shape, _PANEL_SHAPE).dimmed()
    labels: list[int] = targets.labels.tolist()
    colors = np.array([class_color(categories[label].id) for label in labels], np.uint8)
    colors = colors.reshape(-1, 3)

    def thumbnails(draw: Callable[[View, LevelTargets], Pixels]) -> list[Thumbnail]:
        return [
            _thumbnail(
                draw(replace(view, pixels=view.pixels.copy()), level),
                f"stride {level.stride}, farthest side {_range_in_words(level.size_range)}",
                f"{level.name}: {formats.count(level.num_positive)} of "
                f"{formats.counted(level.matched.size, 'location')} positive",
            )
            for level in targets.levels
        ]

    return [
        Section(
            name="class-map",
            title="Class map",
            lead="Locations in the colour of the class they learn. All others learn background.",
            data={"levels": thumbnails(lambda v, level: class_panel(v, level, colors))},
        ),
        Section(
            name="centerness",
            title="Centre-ness",
            lead="1 in the middle of the box that a location learns, 0 on its sides.",
            data={"levels": thumbnails(centerness_panel), "key": _centerness_key()},
        ),
        Section(
            name="ltrb",
            title="Distances (ltrb)",
            lead=(
                "Distances to the sides of each box, from the most central and the most remote "
                "location that learn it."
            ),
            data={
                "levels": thumbnails(
                    lambda v, level: distances_panel(v, level, targets.boxes, colors)
                ),
                "sides": [(side, hex_color(color)) for side, color in SIDE_COLORS.items()],
            },
        ),
    ]


def _range_in_words(size_range: tuple[float, float]) -> str:
    low, high = size_range
    if math.isinf(high):
        return "at any distance" if low <= 0 else f"from {low:g} px on"
    return f"up to {high:g} px" if low <= 0 else f"{formats.between(f'{low:g}', f'{high:g}')} px"


def _centerness_key() -> list[str]:
    ramp = heat_colors(np.linspace(0, 1, _KEY_STEPS, dtype=np.float32)[None])[0]
    return [hex_color((red, green, blue)) for red, green, blue in ramp.tolist()]


def _thumbnail(pixels: Pixels, caption: str, about: str) -> Thumbnail:
    height, width = pixels.shape[:2]
    jpeg = encode_jpeg(pixels, has_full_color=True)
    return Thumbnail(jpeg=jpeg, width=width, height=height, caption=caption, description=about)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} \N{MULTIPLICATION SIGN} {shape[0]}"
