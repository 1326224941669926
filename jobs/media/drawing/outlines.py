"""Solid and dashed outlines of boxes, and hatched regions."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from jobs.media.drawing.colors import GREY, Color, Pixels

Corners = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max in pixels of the image that is drawn on."""

_DASH_PX, _GAP_PX = 7, 5
_HATCH_PX = 9
_SHADOW: Color = (0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """How a box is drawn; a shadow, a dark pixel on either side, keeps it visible on any image."""

    color: Color
    width_px: int = 2
    is_dashed: bool = False
    has_shadow: bool = False


def draw_outline(image: Pixels, box: Corners, outline: Outline) -> None:
    """Draw the four sides of a box, as far as they lie in the image."""
    strokes = [(outline.color, outline.width_px)]
    if outline.has_shadow:
        strokes.insert(0, (_SHADOW, outline.width_px + 2))
    x_min, y_min, x_max, y_max = box
    for color, width_px in strokes:
        if outline.is_dashed:
            for start, end in _dashes(box):
                cv2.line(image, start, end, color, width_px)
        else:
            cv2.rectangle(image, (x_min, y_min), (x_max, y_max), color, width_px)


def hatch(image: Pixels, box: Corners, color: Color = GREY) -> None:
    """Cover a region with thin diagonal lines."""
    height, width = image.shape[:2]
    x_min, y_min = max(box[0], 0), max(box[1], 0)
    x_max, y_max = min(box[2] + 1, width), min(box[3] + 1, height)
    if x_min < x_max and y_min < y_max:
        y, x = np.ogrid[y_min:y_max, x_min:x_max]
        image[y_min:y_max, x_min:x_max][(x + y) % _HATCH_PX == 0] = color


def _dashes(box: Corners) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    x_min, y_min, x_max, y_max = box
    for x in range(x_min, x_max + 1, _DASH_PX + _GAP_PX):
        end = min(x + _DASH_PX, x_max)
        yield (x, y_min), (end, y_min)
        yield (x, y_max), (end, y_max)
    for y in range(y_min, y_max + 1, _DASH_PX + _GAP_PX):
        end = min(y + _DASH_PX, y_max)
        yield (x_min, y), (x_min, end)
        yield (x_max, y), (x_max, end)
