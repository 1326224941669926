"""Colours: of the page, of classes, of a value between 0 and 1. All are RGB bytes."""

import math
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
RULE: Color = (214, 218, 224)
LOST: Color = (214, 24, 36)
GREY: Color = (150, 154, 160)

# From one id to the next, the hue turns by a share of the circle and light follows dark. The share
# keeps the first dozen ids farthest apart; after 26 ids the hues come again, less vivid.
# Below 60 degrees lies the red of lost boxes.
_FIRST_HUE, _HUES = 60.0, 300.0
_TURN = 0.0775
_LIGHTNESS = (0.68, 0.85)
_CHROMA = (0.15, 0.08)
_IDS_PER_CHROMA = 26
# The darkest part of the heat colours would not be seen on a dimmed picture.
_COLDEST = 0.15
# WCAG 2: relative luminance at which black and white text are equally legible.
_MIDDLE_LUMINANCE = 0.179
_SRGB_TO_LUMINANCE = (0.2126, 0.7152, 0.0722)


def class_color(category_id: int) -> Color:
    """The colour of a class: the same in every picture, data set and run.

    Args:
        category_id: COCO's.
    """
    hue = math.radians(_FIRST_HUE + _HUES * (category_id * _TURN % 1.0))
    lightness = _LIGHTNESS[category_id % len(_LIGHTNESS)]
    chroma = _CHROMA[category_id // _IDS_PER_CHROMA % len(_CHROMA)]
    return _oklab_to_rgb(lightness, chroma * math.cos(hue), chroma * math.sin(hue))


def text_color_on(background: Color) -> Color:
    """Black or white, whichever is easier to read there."""
    luminance = sum(
        share * _linear(value) for share, value in zip(_SRGB_TO_LUMINANCE, background, strict=True)
    )
    return (0, 0, 0) if luminance > _MIDDLE_LUMINANCE else (255, 255, 255)


def heat_colors(values: npt.NDArray[np.floating]) -> Pixels:
    """From violet (0) through red to yellow (1), brighter all the way.

    Args:
        values: 0..1, rows x columns.
    """
    shares = _COLDEST + (1 - _COLDEST) * np.clip(values, 0, 1)
    levels = np.rint(shares * 255).astype(np.uint8)
    painted = cv2.applyColorMap(levels, cv2.COLORMAP_PLASMA)
    return cast("Pixels", cv2.cvtColor(painted, cv2.COLOR_BGR2RGB))


def dimmed(pixels: Pixels) -> Pixels:
    """The picture in dark grey, for colours to stand out on."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dark = cv2.convertScaleAbs(grey, alpha=0.42, beta=22)
    return cast("Pixels", cv2.cvtColor(dark, cv2.COLOR_GRAY2RGB))


def _linear(value: int) -> float:
    """Undo the sRGB curve."""
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4  # noqa: PLR2004


def _oklab_to_rgb(lightness: float, a: float, b: float) -> Color:
    """Oklab (Ottosson, 2020), in which equal lightness looks equally light; clipped to sRGB."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _srgb(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _srgb(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _srgb(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _srgb(linear: float) -> int:
    clipped = min(max(linear, 0.0), 1.0)
    curved = 12.92 * clipped if clipped <= 0.0031308 else 1.055 * clipped ** (1 / 2.4) - 0.055  # noqa: PLR2004
    return round(255 * curved)
