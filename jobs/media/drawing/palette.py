"""A colour for every class: the same in every image, data set and run, and far from all others.

Each colour is the one farthest from all colours before it, as the eye sees distance (Oklab;
Ottosson, 2020). So the first classes differ most, and 91 classes still differ.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.media.drawing.colors import LOST, Color

NUM_COLORS = 256
"""Ids that differ by this many share a colour."""

_STEPS = 18  # candidates: a grid of this many values each of red, green and blue
# A colour is visible on dark and on white ground, and unlike grey and the red of lost boxes.
_LIGHTNESS = (0.58, 0.93)
_LEAST_CHROMA = 0.08
_FROM_LOST = 0.15

_Array = npt.NDArray[Any]

# From linear RGB to the responses of the eye's cones, and from their cube roots to Oklab.
_TO_CONES = np.array(
    [
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    ]
)
_TO_OKLAB = np.array(
    [
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    ]
)


def class_color(category_id: int) -> Color:
    """Return the colour of COCO's category id, which may be any number."""
    return _palette()[category_id % NUM_COLORS]


def oklab(colors: npt.ArrayLike) -> _Array:
    """Convert RGB bytes, shape (n, 3), to Oklab, where equal distances look equally different.

    The three values are lightness, green to red, and blue to yellow.
    """
    shares = np.asarray(colors) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_OKLAB.T


@lru_cache(maxsize=1)
def _palette() -> tuple[Color, ...]:
    values = np.linspace(0, 255, _STEPS).round().astype(np.int64)
    colors = np.stack(np.meshgrid(values, values, values, indexing="ij"), axis=-1).reshape(-1, 3)
    places = oklab(colors)
    distances = np.linalg.norm(places - oklab([LOST]), axis=1)
    is_usable = (places[:, 0] > _LIGHTNESS[0]) & (places[:, 0] < _LIGHTNESS[1])
    is_usable &= np.hypot(places[:, 1], places[:, 2]) > _LEAST_CHROMA
    is_usable &= distances > _FROM_LOST
    colors, places, distances = colors[is_usable], places[is_usable], distances[is_usable]
    chosen: list[Color] = []
    for _ in range(NUM_COLORS):
        farthest = int(distances.argmax())
        red, green, blue = colors[farthest].tolist()
        chosen.append((red, green, blue))
        further = np.linalg.norm(places - places[farthest], axis=1)
        distances = np.minimum(distances, further)
    return tuple(chosen)
