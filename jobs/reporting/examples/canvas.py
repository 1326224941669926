"""A thumbnail: an image, or its part around a box, to draw on and to write as a JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from jobs.media.drawing.colors import Pixels
from jobs.media.drawing.jpeg import encode_jpeg
from jobs.media.drawing.labels import LabelWish, draw_label, place_labels
from jobs.media.drawing.outlines import Corners, Outline, draw_outline, hatch
from jobs.media.drawing.text import TextStyle
from jobs.media.drawing.view import View

LONGEST_BYTES = 80_000
"""Limit of a thumbnail's JPEG."""

Box = npt.NDArray[np.floating]
"""x_min, y_min, x_max, y_max in pixels of the image."""

_MAX_SHAPE = (480, 640)
_STYLE = TextStyle(size_px=20, weight=500)
# A crop is this many times as large as its box, and at least this many pixels wide.
_CROP_FACTOR = 3.0
_LEAST_CROP_PX = 160
_ASPECT = _MAX_SHAPE[1] / _MAX_SHAPE[0]
_QUALITIES = (86, 74, 60, 45, 30)


@dataclass(frozen=True)
class Canvas:
    """An image, or its part from ``x`` and ``y`` on, at the size of a thumbnail."""

    view: View
    x: float
    y: float

    @classmethod
    def of(cls, pixels: Pixels, focus: Box | None) -> Canvas:
        """Scale an image (RGB), or only the surroundings of a box to ``focus`` on."""
        height, width = pixels.shape[:2]
        x_min, y_min, x_max, y_max = (
            (0, 0, width, height) if focus is None else _crop(focus, (height, width))
        )
        part = np.ascontiguousarray(pixels[y_min:y_max, x_min:x_max])
        return cls(View.of(part, part.shape[:2], _MAX_SHAPE), x_min, y_min)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the thumbnail, in pixels."""
        height, width = self.view.pixels.shape[:2]
        return height, width

    def corners(self, box: Box) -> Corners:
        """The corners of a box, in pixels of the thumbnail."""
        return self.view.corners(box - np.array([self.x, self.y, self.x, self.y]))

    def outline(self, box: Box, outline: Outline) -> None:
        draw_outline(self.view.pixels, self.corners(box), outline)

    def hatch(self, box: Box) -> None:
        hatch(self.view.pixels, self.corners(box))

    def label(self, wishes: Sequence[LabelWish]) -> None:
        """Label the visible boxes; earlier wishes take precedence."""
        height, width = self.shape
        seen = [wish for wish in wishes if _meets(wish.box, (height, width))]
        inside = [replace(wish, box=_within(wish.box, (height, width))) for wish in seen]
        for label in place_labels(inside, (height, width), _STYLE):
            draw_label(self.view.pixels, label, _STYLE)

    def jpeg(self) -> bytes:
        return encoded(self.view.pixels)


def encoded(pixels: Pixels) -> bytes:
    """Write a JPEG of at most ``LONGEST_BYTES``: at lower quality first, then at half the size."""
    while True:
        for quality in _QUALITIES:
            data = encode_jpeg(pixels, quality=quality)
            if len(data) <= LONGEST_BYTES:
                return data
        smaller = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        pixels = cast("Pixels", smaller)


def _crop(box: Box, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """A region of the thumbnail's aspect ratio around a box, moved into the image."""
    height, width = shape
    box_width, box_height = max(box[2] - box[0], 1.0), max(box[3] - box[1], 1.0)
    wanted = max(box_width / _ASPECT, box_height) * _CROP_FACTOR
    crop_height = min(height, max(_LEAST_CROP_PX / _ASPECT, wanted))
    crop_width = min(width, crop_height * _ASPECT)
    x = np.clip((box[0] + box[2] - crop_width) / 2, 0, width - crop_width)
    y = np.clip((box[1] + box[3] - crop_height) / 2, 0, height - crop_height)
    return (
        int(x),
        int(y),
        min(width, int(np.ceil(x + crop_width))),
        min(height, int(np.ceil(y + crop_height))),
    )


def _meets(box: Corners, shape: tuple[int, int]) -> bool:
    return box[0] < shape[1] and box[1] < shape[0] and box[2] >= 0 and box[3] >= 0


def _within(box: Corners, shape: tuple[int, int]) -> Corners:
    right, bottom = shape[1] - 1, shape[0] - 1
    return max(box[0], 0), max(box[1], 0), min(box[2], right), min(box[3], bottom)
