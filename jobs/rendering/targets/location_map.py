"""Locations of a pyramid level as squares of colour on an image."""

import numpy as np
import numpy.typing as npt

from jobs.media.drawing.colors import Color, Pixels
from jobs.media.drawing.view import View

# Locations closer together than this become squares that touch, so that they make an area.
_TOUCHING_PX = 5.0
_SHARE = 0.38
_LARGEST_PX = 9.0
_DOT_PX = 0.8
_DOT: Color = (128, 132, 140)
# Where locations lie closer together than this, dots for background would hide the image.
_DOTS_FROM_PX = 14.0

Coordinates = npt.NDArray[np.floating]


def paint_locations(
    view: View,
    x: Coordinates,
    y: Coordinates,
    colors: Pixels,
    is_painted: npt.NDArray[np.bool_],
) -> None:
    """Paint the chosen locations; the others become dots where they do not hide the image.

    Args:
        view: view of the image, which is painted on.
        x: position of each column of locations, in pixels of the network's input.
        y: position of each row of locations, likewise.
        colors: colour of each location, rows x columns x 3.
        is_painted: which locations are painted.
    """
    columns, across = _nearest(x, view.scale_x, view.pixels.shape[1])
    rows, down = _nearest(y, view.scale_y, view.pixels.shape[0])
    spacing_px = min(_spacing(x) * view.scale_x, _spacing(y) * view.scale_y)
    if spacing_px >= _DOTS_FROM_PX:
        view.pixels[np.outer(down <= _DOT_PX, across <= _DOT_PX)] = _DOT
    half_px = spacing_px if spacing_px < _TOUCHING_PX else min(_SHARE * spacing_px, _LARGEST_PX)
    is_square = np.outer(down <= half_px, across <= half_px)
    is_square &= is_painted[rows][:, columns]
    view.pixels[is_square] = colors[rows][:, columns][is_square]


def _nearest(
    positions: Coordinates, scale: float, size_px: int
) -> tuple[npt.NDArray[np.intp], Coordinates]:
    """Return for each pixel along one side the nearest location, and its distance in pixels."""
    pixels = (np.arange(size_px) + 0.5) / scale
    nearest = np.rint((pixels - positions[0]) / _spacing(positions)).astype(np.intp)
    nearest = nearest.clip(0, len(positions) - 1)
    return nearest, np.abs(pixels - positions[nearest]) * scale


def _spacing(positions: Coordinates) -> float:
    """Return the distance between neighbours; a large number for a single location."""
    return float(positions[1] - positions[0]) if len(positions) > 1 else float("1e6")
