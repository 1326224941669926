"""The SVG elements of charts; every attribute and text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from jobs.html.formats import visible

Value = str | float | None

_MOST_STEPS = 5
_ROUNDING = 1e-9


def element(name: str, *children: Markup | str, **attributes: Value) -> Markup:
    """Make an element.

    Args:
        name: tag of the element.
        *children: elements, or text, which is escaped.
        **attributes: ``_`` in a name stands for ``-``; at the end it is dropped, as in ``class_``.
            Numbers are rounded to hundredths. None leaves the attribute out.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _written(value))
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(
        child if isinstance(child, Markup) else escape(visible(child)) for child in children
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inside)


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return the attribute ``d`` of a line through points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One side of a chart: quantity with its unit, ends, and ticks, each a value and its label."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The rectangle in which values are drawn, in units of the chart."""

    x: Axis
    y: Axis
    left: float = 46
    top: float = 10
    right: float = 350
    bottom: float = 188
    width: float = 360
    height: float = 226

    def at_x(self, value: float) -> float:
        return self.left + (self.right - self.left) * _share(value, self.x)

    def at_y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * _share(value, self.y)

    def drawn(self) -> Markup:
        """Draw the grid, its labels and the titles of both axes."""
        parts: list[Markup] = []
        for value, name in self.y.ticks:
            y = self.at_y(value)
            parts.append(line(self.left, y, self.right, y, "grid"))
            parts.append(
                element("text", name, x=self.left - 6, y=y + 4, class_="tick", text_anchor="end")
            )
        for value, name in self.x.ticks:
            x = self.at_x(value)
            parts.append(
                element("text", name, x=x, y=self.bottom + 16, class_="tick", text_anchor="middle")
            )
        parts.append(line(self.left, self.bottom, self.right, self.bottom, "axis"))
        middle = (self.left + self.right) / 2
        parts.append(
            element(
                "text", self.x.title, x=middle, y=self.height - 5, class_="axis-title",
                text_anchor="middle",
            )
        )  # fmt: skip
        middle = (self.top + self.bottom) / 2
        parts.append(
            element(
                "text", self.y.title, x=-middle, y=11, class_="axis-title", text_anchor="middle",
                transform="rotate(-90)",
            )
        )  # fmt: skip
        return Markup("").join(parts)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """Make a straight line; ``style`` is its class in the style sheet."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=style)


def axis_from_zero(title: str, largest: float, *, is_whole: bool = False) -> Axis:
    """Make an axis from 0 to a round value that reaches ``largest``, with round ticks."""
    step = _round_step(largest) if largest > 0 else 1.0
    step = max(1.0, step) if is_whole else step
    num_steps = max(1, math.ceil(largest / step - _ROUNDING))
    ticks = [(i * step, f"{i * step:,.6g}") for i in range(num_steps + 1)]
    return Axis(title=title, low=0, high=num_steps * step, ticks=ticks)


def _round_step(largest: float) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten that needs at most five steps."""
    magnitude = 10.0 ** math.floor(math.log10(largest) - 1)
    steps = (magnitude * factor for factor in (1, 2, 2.5, 5, 10, 20, 25))
    return next(step for step in steps if largest <= _MOST_STEPS * step)


def _share(value: float, axis: Axis) -> float:
    return (value - axis.low) / (axis.high - axis.low) if axis.high > axis.low else 0.0


def _written(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return visible(str(value))
