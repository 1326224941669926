"""One image of the demo dataset: background, clutter, then objects."""

# numpy leaves the type of round() of a computed array unknown.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jobs.synthetic.shapes import CATEGORIES, Contours, outline
from jobs.synthetic.texture import SIZE_PX, background, draw_clutter, paint

SMALLEST_PX, LARGEST_PX = 12.0, 280.0
MAX_OBJECTS = 10
# An object is not drawn when less than this share of it, or of another object, would be visible.
MIN_VISIBLE = 0.5
MIN_SQUEEZE = 0.7
# Below 1, sizes tend to be larger than log-uniform.
SIZE_SKEW = 0.8
# A mask value above this counts as covered.
HALF = 127
BLUR_SHARE = 0.3

Array = npt.NDArray[Any]
# cv2 draws on a grid of 1/16 px when coordinates are given with this many fractional bits.
SHIFT = 4


@dataclass(frozen=True)
class SceneObject:
    """The class of a drawn object, and the box and area of its visible part.

    ``box`` is x, y, width, height in pixels. ``is_hidden``: most of the object is hidden.
    """

    label: int
    box: tuple[float, float, float, float]
    area: float
    is_hidden: bool = False


@dataclass(frozen=True)
class _Stamp:
    """A shape's anti-aliased mask and where its upper left corner lies in the image."""

    alpha: Array
    x: int
    y: int

    @property
    def window(self) -> tuple[slice, slice]:
        rows, columns = self.alpha.shape
        return slice(self.y, self.y + rows), slice(self.x, self.x + columns)


def draw_scene(rng: np.random.Generator) -> tuple[Array, list[SceneObject]]:
    """Draw one image, RGB uint8 of ``SIZE_PX`` squared; all randomness comes from ``rng``."""
    image = background(rng)
    draw_clutter(image, rng)
    count = int(rng.integers(1, MAX_OBJECTS + 1))
    # Large objects first, so that small ones are on top and stay visible.
    spread = rng.random(count) ** SIZE_SKEW
    sizes = np.sort(SMALLEST_PX * (LARGEST_PX / SMALLEST_PX) ** spread)[::-1]
    owner = np.full((SIZE_PX, SIZE_PX), -1, dtype=np.int32)
    labels: list[int] = []
    full_areas: list[int] = []
    for size in sizes:
        label = int(rng.integers(len(CATEGORIES)))
        stamp = _stamp(outline(label), float(size), rng)
        is_covered = stamp.alpha > HALF
        if not _may_be_drawn(stamp, owner, full_areas):
            continue
        owner[stamp.window][is_covered] = len(labels)
        labels.append(label)
        full_areas.append(int(is_covered.sum()))
        _paint(image[stamp.window], stamp.alpha, rng)
    return _degrade(image, rng), [extent(owner, i, label) for i, label in enumerate(labels)]


def extent(owner: Array, index: int, label: int) -> SceneObject:
    """Measure the visible part of an object; at least one pixel of ``owner`` shows its number."""
    is_visible = owner == index
    rows = np.flatnonzero(is_visible.any(axis=1))
    columns = np.flatnonzero(is_visible.any(axis=0))
    x, y = float(columns[0]), float(rows[0])
    box = (x, y, float(columns[-1]) + 1 - x, float(rows[-1]) + 1 - y)
    return SceneObject(label, box, float(is_visible.sum()))


def _may_be_drawn(stamp: _Stamp, owner: Array, full_areas: Sequence[int]) -> bool:
    is_covered = stamp.alpha > HALF
    if is_covered.sum() < SMALLEST_PX:
        return False
    hidden = np.bincount(owner[stamp.window][is_covered] + 1, minlength=len(full_areas) + 1)[1:]
    visible = np.bincount(owner.ravel() + 1, minlength=len(full_areas) + 1)[1:]
    remaining = visible - hidden
    return all(left >= MIN_VISIBLE * full for left, full in zip(remaining, full_areas, strict=True))


def _stamp(contours: Contours, size: float, rng: np.random.Generator) -> _Stamp:
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    squeeze = np.array([1.0, rng.uniform(MIN_SQUEEZE, 1.0)])
    points = [(contour * squeeze) @ rotation.T for contour in contours]
    everything = np.concatenate(points)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = size / float((high - low).max())
    extent = (high - low) * scale
    corner = rng.uniform(0, 1, 2) * (SIZE_PX - extent)
    x, y = (int(v) for v in np.floor(corner))
    columns, rows = (
        min(int(np.ceil(e)) + 2, SIZE_PX - c) for e, c in zip(extent, (x, y), strict=True)
    )
    inner = corner - np.array([x, y])
    placed: list[Array] = [
        np.round(((p - low) * scale + inner) * 2**SHIFT).astype(np.int32) for p in points
    ]
    alpha = np.zeros((rows, columns), dtype=np.uint8)
    return _Stamp(cv2.fillPoly(alpha, placed, 255, lineType=cv2.LINE_AA, shift=SHIFT), x, y)


def _paint(window: Array, alpha: Array, rng: np.random.Generator) -> None:
    fill = paint(window[alpha > HALF].mean(axis=0), alpha.shape, rng)
    weight = alpha[..., None].astype(np.float32) / 255
    window[:] = window * (1 - weight) + fill * weight


def _degrade(image: Array, rng: np.random.Generator) -> Array:
    if rng.random() < BLUR_SHARE:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.0)))
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, 8))
    return np.clip(image * np.float32(rng.uniform(0.75, 1.1)) + noise, 0, 255).astype(np.uint8)
