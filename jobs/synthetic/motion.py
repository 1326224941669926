"""A scene that moves: shapes glide and turn over a still background, in and out of the image.

The box of an object encloses its visible part, as in the demo's images. An object of which less
than half is visible, because it enters, leaves or is behind others, is marked as hidden: it need
not be detected, and a detection of it is no mistake.
"""

# numpy leaves the type of round() of a computed array unknown.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from jobs.synthetic.scene import (
    HALF,
    MIN_SQUEEZE,
    MIN_VISIBLE,
    SHIFT,
    SMALLEST_PX,
    Array,
    SceneObject,
    extent,
)
from jobs.synthetic.shapes import CATEGORIES, Contours, outline
from jobs.synthetic.texture import SIZE_PX, background, draw_clutter, paint

NUM_OBJECTS = 9
SMALLEST_MOVING_PX, LARGEST_MOVING_PX = 24.0, 150.0
# Paths begin and end up to this share of the image's side outside of the image.
MAX_OUTSIDE_SHARE = 0.3
MAX_TURNS, MAX_GROWTH, MAX_SWAY_PX = 0.4, 0.25, 24.0
MAX_NOISE = 4.0
NUM_COLOR_SAMPLES = 16  # of the background along an object's path, to choose its colour


@dataclass(frozen=True)
class _Mover:
    """A shape and its path.

    Args:
        label: index in ``CATEGORIES``.
        contours: outline of the shape, of size 1 around 0.
        texture: RGB colours, somewhat larger than the shape ever is.
        size_px: size in the first frame.
        start: x and y of the centre in the first frame.
        end: x and y of the centre in the last frame.
        sway: x and y of the largest distance from the straight line.
        angle: rotation in the first frame, in radians.
        turn: rotation over the whole video, in radians.
        growth: share by which the size grows over the whole video.
    """

    label: int
    contours: Contours
    texture: Array
    size_px: float
    start: Array
    end: Array
    sway: Array
    angle: float
    turn: float
    growth: float

    def center(self, time: float) -> Array:
        return self.start + (self.end - self.start) * time + self.sway * np.sin(2 * np.pi * time)

    def matrix(self, time: float) -> Array:
        """Return the map from the shape's own coordinates, of size 1, to the image's."""
        angle = self.angle + self.turn * time
        scale = self.size_px * (1 + self.growth * time)
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        x, y = self.center(time)
        return np.array([[cosine, -sine, x], [sine, cosine, y]])


def draw_motion(
    rng: np.random.Generator, num_frames: int
) -> Iterator[tuple[Array, list[SceneObject]]]:
    """Draw the frames of a video, one after the other; all randomness comes from ``rng``.

    Yields:
        RGB uint8 of ``SIZE_PX`` squared, and the visible objects.
    """
    ground = background(rng)
    draw_clutter(ground, rng)
    # Large shapes are behind small ones, so that these stay visible.
    spread = np.sort(rng.random(NUM_OBJECTS))[::-1]
    sizes = SMALLEST_MOVING_PX * (LARGEST_MOVING_PX / SMALLEST_MOVING_PX) ** spread
    movers = [_mover(float(size), ground, rng) for size in sizes]
    noise = np.float32(rng.uniform(0, MAX_NOISE))
    for number in range(num_frames):
        image, objects = _draw(ground, movers, number / max(1, num_frames - 1))
        image += rng.standard_normal(image.shape, dtype=np.float32) * noise
        yield np.clip(image, 0, 255).astype(np.uint8), objects


def _mover(size_px: float, ground: Array, rng: np.random.Generator) -> _Mover:
    label = int(rng.integers(len(CATEGORIES)))
    squeeze = np.array([1.0, rng.uniform(MIN_SQUEEZE, 1.0)])
    contours = [contour * squeeze for contour in outline(label)]
    everything = np.concatenate(contours)
    low, high = everything.min(axis=0), everything.max(axis=0)
    contours = [(c - (low + high) / 2) / float((high - low).max()) for c in contours]
    start, end = rng.uniform(-MAX_OUTSIDE_SHARE, 1 + MAX_OUTSIDE_SHARE, (2, 2)) * SIZE_PX
    side = int(np.ceil(size_px * (1 + MAX_GROWTH) * np.sqrt(2))) + 2
    mover = _Mover(
        label=label,
        contours=contours,
        texture=np.zeros((side, side, 3), np.float32),
        size_px=size_px,
        start=start,
        end=end,
        sway=rng.uniform(-MAX_SWAY_PX, MAX_SWAY_PX, 2),
        angle=rng.uniform(0, 2 * np.pi),
        turn=rng.uniform(-MAX_TURNS, MAX_TURNS) * 2 * np.pi,
        growth=rng.uniform(-MAX_GROWTH, MAX_GROWTH),
    )
    places = [mover.center(time) for time in np.linspace(0, 1, NUM_COLOR_SAMPLES)]
    x, y = np.clip(np.array(places), 0, SIZE_PX - 1).astype(int).T
    return replace(mover, texture=paint(ground[y, x].mean(axis=0), (side, side), rng))


def _draw(ground: Array, movers: Sequence[_Mover], time: float) -> tuple[Array, list[SceneObject]]:
    image = ground.copy()
    owner = np.full((SIZE_PX, SIZE_PX), -1, dtype=np.int32)
    whole_areas: list[int] = []
    for number, mover in enumerate(movers):
        alpha, (x, y), whole_area = _mask(mover, time)
        whole_areas.append(whole_area)
        if not alpha.size:
            continue
        rows, columns = alpha.shape
        window = slice(y, y + rows), slice(x, x + columns)
        owner[window][alpha > HALF] = number
        weight = alpha[..., None].astype(np.float32) / 255
        image[window] += (_texture(mover, time, (x, y), alpha.shape) - image[window]) * weight
    objects: list[SceneObject] = []
    for number, mover in enumerate(movers):
        if (owner == number).any():
            seen = extent(owner, number, mover.label)
            is_hidden = seen.area < max(MIN_VISIBLE * whole_areas[number], SMALLEST_PX)
            objects.append(replace(seen, is_hidden=is_hidden))
    return image, objects


def _mask(mover: _Mover, time: float) -> tuple[Array, tuple[int, int], int]:
    # Coverage of each pixel in a part of the image, 0 to 255; the x and y of this part; and the
    # number of pixels that the shape covers, including those outside of the image.
    matrix = mover.matrix(time)
    points = [contour @ matrix[:, :2].T + matrix[:, 2] for contour in mover.contours]
    everything = np.concatenate(points)
    low = np.floor(everything.min(axis=0)).astype(int) - 1
    columns, rows = np.ceil(everything.max(axis=0)).astype(int) + 1 - low
    placed: list[Array] = [np.round((p - low) * 2**SHIFT).astype(np.int32) for p in points]
    stamp = np.zeros((rows, columns), dtype=np.uint8)
    stamp = cv2.fillPoly(stamp, placed, 255, lineType=cv2.LINE_AA, shift=SHIFT)
    x, y = np.clip(low, 0, SIZE_PX)
    inside = stamp[y - low[1] : max(0, SIZE_PX - low[1]), x - low[0] : max(0, SIZE_PX - low[0])]
    return inside, (int(x), int(y)), int((stamp > HALF).sum())


def _texture(mover: _Mover, time: float, corner: tuple[int, int], shape: tuple[int, ...]) -> Array:
    """Turn and scale the texture of a shape with it, over a part of the image."""
    middle = (mover.texture.shape[0] - 1) / 2
    matrix = mover.matrix(time)
    turned = matrix[:, :2] / mover.size_px
    moved = matrix[:, 2] - turned @ np.array([middle, middle]) - np.array(corner)
    warp = np.concatenate([turned, moved[:, None]], axis=1)
    size = (shape[1], shape[0])
    return cv2.warpAffine(mover.texture, warp, size, borderMode=cv2.BORDER_REPLICATE)
