"""Labels beside boxes: no two overlap, none leaves the image, and each says as much as fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from jobs.media.drawing.colors import Color, Pixels, text_color_on
from jobs.media.drawing.outlines import Corners
from jobs.media.drawing.text import TextStyle, draw_text, text_width

# How far from its box a label may be put, in label heights; beyond its neighbourhood a line leads
# to it.
_RINGS = 12
_DIRECTIONS = ((0, -1), (1, 0), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, 1), (-1, -1))
# A box smaller than so many label heights is not covered as long as there is another place.
_SMALL = 3
_NOWHERE = (-2, -2, -1, -1)

Rectangles = npt.NDArray[np.int64]
"""Rows of x_min, y_min, x_max, y_max."""


@dataclass(frozen=True, kw_only=True)
class LabelWish:
    """What should be written beside a box.

    Attributes:
        box: that it belongs to.
        texts: the same, from long to short; the first that fits is taken.
        color: behind the text.
    """

    box: Corners
    texts: Sequence[str]
    color: Color


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text and its place.

    Attributes:
        wish: that it fulfils.
        text: the one of its texts that fits.
        corners: of the coloured rectangle.
        is_beside: whether it touches its box; otherwise a line leads from one to the other.
    """

    wish: LabelWish
    text: str
    corners: Corners
    is_beside: bool


def place_labels(
    wishes: Sequence[LabelWish], area: tuple[int, int], style: TextStyle
) -> list[Label]:
    """Find a place for every label.

    First each gets one for its shortest text, then as many as possible are made longer, those of
    the first wishes first.

    Args:
        wishes: the most important first.
        area: height and width that labels may not leave.
        style: of the text.

    Returns:
        The labels in the order of the wishes, less those that fit nowhere.
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
    """Draw a label, and the line to its box where it lies apart."""
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

    Args:
        wish: whose box it shall be near.
        text: to place.
        obstacles: labels, which are never covered, and boxes, which are if need be.
        area: height and width of the image.
        style: of the text.
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
    """List places around a box, the best first.

    Yields:
        x and y of the label's upper left corner, and whether it touches the box there.
    """
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
    """Whether a rectangle has a pixel in common with one of many."""
    x_min, y_min, x_max, y_max = corners
    is_hit = (others[:, 0] <= x_max) & (others[:, 2] >= x_min)
    is_hit &= (others[:, 1] <= y_max) & (others[:, 3] >= y_min)
    return bool(is_hit.any())


def _clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
