"""Labels beside boxes: no two overlap, none leaves the image, and each is as long as fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from jobs.media.drawing.colors import Color, Pixels, text_color_on
from jobs.media.drawing.outlines import Corners
from jobs.media.drawing.text import TextStyle, draw_text, text_width

# Largest distance of a label from its box, in label heights. A label that does not touch its box is
# linked to it by a line.
_RINGS = 12
_DIRECTIONS = ((0, -1), (1, 0), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, 1), (-1, -1))
# A label does not cover a box smaller than this many label heights while it has another place.
_SMALL = 3
_NOWHERE = (-2, -2, -1, -1)

Rectangles = npt.NDArray[np.int64]
"""Rows of x_min, y_min, x_max, y_max."""


@dataclass(frozen=True, kw_only=True)
class LabelWish:
    """A label to be placed beside a box; the first text that fits is taken, from long to short."""

    box: Corners
    texts: Sequence[str]
    color: Color


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label with its place; where it is not beside its box, a line links the two."""

    wish: LabelWish
    text: str
    corners: Corners
    is_beside: bool


def place_labels(
    wishes: Sequence[LabelWish], area: tuple[int, int], style: TextStyle
) -> list[Label]:
    """Find a place for every label, the most important first; leave out those that fit nowhere.

    First each label gets a place for its shortest text; then labels get longer texts where these
    fit. ``area`` is the height and width of the image.
    """
    small_px = _SMALL * style.line_px
    boxes = np.array([wish.box for wish in wishes]).reshape(-1, 4)
    small_boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1) < small_px]
    placed: list[Label] = []
    taken = np.full((len(wishes), 4), _NOWHERE)
    for wish in wishes:
        label = _place(wish, wish.texts[-1], (taken, small_boxes), area, style)
        if label is not None:
            taken[len(placed)] = label.corners
            placed.append(label)
    for i, label in enumerate(placed):
        taken[i] = _NOWHERE
        for text in label.wish.texts[:-1]:
            longer = _place(label.wish, text, (taken, small_boxes), area, style)
            if longer is not None and longer.is_beside:
                placed[i] = longer
                break
        taken[i] = placed[i].corners
    return placed


def draw_label(image: Pixels, label: Label, style: TextStyle) -> None:
    """Draw a label, and a line to its box where the two do not touch."""
    x_min, y_min, x_max, y_max = label.corners
    color = label.wish.color
    if not label.is_beside:
        box = label.wish.box
        start = ((x_min + x_max) // 2, (y_min + y_max) // 2)
        end = (_clamp(start[0], box[0], box[2]), _clamp(start[1], box[1], box[3]))
        cv2.line(image, start, end, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.line(image, start, end, color, 1, cv2.LINE_AA)
    cv2.rectangle(image, (x_min, y_min), (x_max, y_max), color, cv2.FILLED)
    written = replace(style, color=text_color_on(color))
    draw_text(image, label.text, x_min + style.padding_px, y_min + 1, written)


def _place(
    wish: LabelWish,
    text: str,
    obstacles: tuple[Rectangles, Rectangles],
    area: tuple[int, int],
    style: TextStyle,
) -> Label | None:
    """Find the best place for one text.

    Of the obstacles, labels are never covered, and small boxes only if the text fits nowhere else.
    """
    width, height = text_width(text, style) + 2 * style.padding_px, style.line_px + 1
    labels, small_boxes = obstacles
    fallback: Label | None = None
    for x, y, is_beside in _places(wish.box, width, height, area):
        corners = (x, y, x + width - 1, y + height - 1)
        is_inside = min(x, y) >= 0 and corners[2] < area[1] and corners[3] < area[0]
        if not is_inside or _hits(corners, labels):
            continue
        label = Label(wish=wish, text=text, corners=corners, is_beside=is_beside)
        if not _hits(corners, small_boxes):
            return label
        if fallback is None or (is_beside and not fallback.is_beside):
            fallback = label
    return fallback


def _places(
    box: Corners, width: int, height: int, area: tuple[int, int]
) -> Iterator[tuple[int, int, bool]]:
    # The best first: x and y of the label's upper left corner, and whether it touches the box.
    x_min, y_min, x_max, y_max = box
    inner_x, inner_y = max(x_min, 0), max(y_min, 0)
    outer_x, outer_y = min(x_max, area[1] - 1) + 1, min(y_max, area[0] - 1) + 1
    for x in (inner_x, outer_x - width):
        yield x, inner_y - height, True
    if x_max - x_min > width and y_max - y_min > _SMALL * height:
        for y in (inner_y, outer_y - height):
            for x in (inner_x, outer_x - width):
                yield x, y, True
    for x in (inner_x, outer_x - width):
        yield x, outer_y, True
    for y in (inner_y, outer_y - height):
        yield outer_x, y, True
        yield inner_x - width, y, True
    center_x, center_y = (inner_x + outer_x - width) // 2, (inner_y + outer_y - height) // 2
    yield center_x, center_y, True
    for ring in range(1, _RINGS + 1):
        for x, y in _DIRECTIONS:
            far_x = (outer_x - inner_x + width) // 2 + ring * height
            far_y = (outer_y - inner_y + height) // 2 + ring * height
            yield center_x + x * far_x, center_y + y * far_y, False


def _hits(corners: Corners, others: Rectangles) -> bool:
    x_min, y_min, x_max, y_max = corners
    is_hit = (others[:, 0] <= x_max) & (others[:, 2] >= x_min)
    is_hit &= (others[:, 1] <= y_max) & (others[:, 3] >= y_min)
    return bool(is_hit.any())


def _clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
