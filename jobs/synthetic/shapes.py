"""The outlines of the demo's eight classes, in a square from -1 to 1.

A shape is a list of closed contours filled by the even-odd rule. Classes differ in outline alone:
colour and texture are random, so a detector has to recognise the form.
"""

from collections.abc import Callable

import numpy as np

from fcos_core.category import Category

Contours = list[np.ndarray]
CIRCLE_POINTS = 72


def _circle(radius: float = 1.0, start: float = 0.0, stop: float = 2 * np.pi) -> np.ndarray:
    angle = np.linspace(start, stop, CIRCLE_POINTS)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _disk() -> Contours:
    return [_circle()]


def _ring() -> Contours:
    return [_circle(), _circle(0.5)]


def _square() -> Contours:
    return [np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)]


def _triangle() -> Contours:
    angle = np.pi / 2 + np.arange(3) * 2 * np.pi / 3
    return [np.stack([np.cos(angle), np.sin(angle)], axis=1)]


def _star() -> Contours:
    angle = np.pi / 2 + np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return [radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)]


def _cross() -> Contours:
    a, b = 0.34, 1.0
    corner = [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a)]
    return [np.array(corner + [(-x, -y) for x, y in corner], dtype=float)]


def _crescent() -> Contours:
    outer = _circle(1.0, np.pi / 3, 5 * np.pi / 3)
    inner = _circle(1.0, 4 * np.pi / 3, 2 * np.pi / 3) + np.array([1.0, 0.0])
    return [np.concatenate([outer, inner[np.argsort(inner[:, 1])]])]


def _arrow() -> Contours:
    points = [(1, 0), (0.1, 0.85), (0.1, 0.32), (-1, 0.32), (-1, -0.32), (0.1, -0.32), (0.1, -0.85)]
    return [np.array(points, dtype=float)]


OUTLINES: dict[str, Callable[[], Contours]] = {
    "disk": _disk,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "arrow": _arrow,
}
CATEGORIES = tuple(Category(id=i + 1, name=name) for i, name in enumerate(OUTLINES))


def outline(label: int) -> Contours:
    """Return the contours of a class, by its index in ``CATEGORIES``."""
    return OUTLINES[CATEGORIES[label].name]()
