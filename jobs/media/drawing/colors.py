"""Colours of paper, of text and of a value between 0 and 1. All are RGB bytes."""

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

Color = tuple[int, int, int]
Pixels = npt.NDArray[np.uint8]
"""RGB, height x width x 3."""

PAPER: Color = (255, 255, 255)
INK: Color = (28, 32, 40)
MUTED: Color = (104, 112, 124)
LOST: Color = (214, 24, 36)
GREY: Color = (150, 154, 160)

# The darkest part of the heat colours would not be seen on a dimmed image.
_COLDEST = 0.15
# WCAG 2: relative luminance at which black and white text are equally legible.
_MIDDLE_LUMINANCE = 0.179
_SRGB_TO_LUMINANCE = (0.2126, 0.7152, 0.0722)


def text_color_on(background: Color) -> Color:
    """Return black or white, the one that is easier to read on a colour."""
    luminance = sum(
        share * _linear(value) for share, value in zip(_SRGB_TO_LUMINANCE, background, strict=True)
    )
    return (0, 0, 0) if luminance > _MIDDLE_LUMINANCE else (255, 255, 255)


def hex_color(color: Color) -> str:
    """Write a colour as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def heat_colors(values: npt.NDArray[np.floating]) -> Pixels:
    """Return a colour for each value of 0..1, from violet through red to yellow, ever brighter."""
    shares = _COLDEST + (1 - _COLDEST) * np.clip(values, 0, 1)
    levels = np.rint(shares * 255).astype(np.uint8)
    painted = cv2.applyColorMap(levels, cv2.COLORMAP_PLASMA)
    return cast("Pixels", cv2.cvtColor(painted, cv2.COLOR_BGR2RGB))


def dimmed(pixels: Pixels) -> Pixels:
    """Return the image in dark grey, on which colours stand out."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dark = cv2.convertScaleAbs(grey, alpha=0.42, beta=22)
    return cast("Pixels", cv2.cvtColor(dark, cv2.COLOR_GRAY2RGB))


def _linear(value: int) -> float:
    """Undo the sRGB curve."""
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4  # noqa: PLR2004
