"""The patterns, background and clutter of the demo's images and videos."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

SIZE_PX = 320
DOT_LEVEL = 0.8
LINE_SHARE = 0.5
MIN_CONTRAST = 45.0

Floats = npt.NDArray[Any]  # numpy's types widen what stays float32


def background(rng: np.random.Generator) -> Floats:
    """Draw a colour with clouds and grain, RGB from 0 to 255."""
    color = rng.uniform(30, 225, 3)
    image = np.zeros((SIZE_PX, SIZE_PX, 3), dtype=np.float32) + color.astype(np.float32)
    for cells, strength in ((3, 60.0), (12, 35.0), (64, 20.0)):
        noise = _smooth_noise(image.shape, rng, cells=cells, channels=3) - 0.5
        image += noise * np.float32(rng.uniform(0.3, 1.0) * strength)
    return np.clip(image, 0, 255)


def draw_clutter(image: Floats, rng: np.random.Generator) -> None:
    """Draw lines, arcs and specks, which are no objects."""
    for _ in range(int(rng.integers(0, 14))):
        color = tuple(float(c) for c in rng.uniform(0, 255, 3))
        start = tuple(int(v) for v in rng.integers(0, SIZE_PX, 2))
        thickness = int(rng.integers(1, 4))
        if rng.random() < LINE_SHARE:
            end = tuple(int(v) for v in rng.integers(0, SIZE_PX, 2))
            cv2.line(image, start, end, color, thickness, cv2.LINE_AA)
        else:
            axes = tuple(int(v) for v in rng.integers(8, 90, 2))
            first = float(rng.uniform(0, 360))
            sweep = float(rng.uniform(30, 120))
            tilt = float(rng.uniform(0, 180))
            cv2.ellipse(
                image, start, axes, tilt, first, first + sweep, color, thickness, cv2.LINE_AA
            )
    for _ in range(int(rng.integers(0, 30))):
        color = tuple(float(c) for c in rng.uniform(0, 255, 3))
        place = tuple(int(v) for v in rng.integers(0, SIZE_PX, 2))
        cv2.circle(image, place, int(rng.integers(1, 4)), color, -1, cv2.LINE_AA)


def paint(ground_color: Floats, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Paint a pattern of two colours, RGB from 0 to 255, unlike the mean colour around it."""
    while True:
        color = rng.uniform(0, 255, 3).astype(np.float32)
        if np.abs(color - ground_color).mean() >= MIN_CONTRAST:
            break
    other = np.clip(color + rng.uniform(-70, 70, 3), 0, 255).astype(np.float32)
    share = _pattern(shape, rng)[..., None]
    return color * (1 - share) + other * share


def _pattern(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Draw a pattern of values from 0 to 1: plain, stripes, checks, dots, gradient or noise."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    angle, frequency = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(4, 24)
    sine, cosine = np.float32(np.sin(angle) * frequency), np.float32(np.cos(angle) * frequency)
    along, across = cosine * x + sine * y, cosine * y - sine * x
    match int(rng.integers(6)):
        case 0:
            return np.zeros_like(x)
        case 1:
            return (np.sin(along) > 0).astype(np.float32)
        case 2:
            return (np.sin(along) * np.sin(across) > 0).astype(np.float32)
        case 3:
            return (np.cos(along) + np.cos(across) > DOT_LEVEL).astype(np.float32)
        case 4:
            return (along - along.min()) / np.ptp(along)
        case _:
            return _smooth_noise(shape, rng, cells=max(2, max(shape) // 5))


def _smooth_noise(
    shape: tuple[int, ...], rng: np.random.Generator, *, cells: int, channels: int = 1
) -> Floats:
    coarse = rng.random((cells, cells, channels), dtype=np.float32)
    noise = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(noise, 0, 1)
