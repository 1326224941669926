"""The few SVG elements that charts are made of; every attribute and text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Value = str | float | None


def element(name: str, *children: Markup | str, **attributes: Value) -> Markup:
    """Make an element.

    Args:
        name: of the element.
        *children: elements, or text, which is escaped.
        **attributes: ``_`` in their names stands for ``-``, and one at the end is dropped, for
            ``class_``; numbers are rounded to a hundredth; None leaves the attribute out.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _written(value))
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inside)


def path(points: Sequence[tuple[float, float]]) -> str:
    """The ``d`` of a line through points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One side of a chart.

    Attributes:
        title: what is measured, with its unit.
        low: the value at its beginning.
        high: the value at its end.
        ticks: values that are named, and their names.
    """

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The rectangle that values are drawn in, in units of the chart.

    Attributes:
        x: the axis below.
        y: the axis at the left.
    """

    x: Axis
    y: Axis
    left: float = 46
    top: float = 10
    right: float = 350
    bottom: float = 188
    width: float = 360
    height: float = 226

    def at_x(self, value: float) -> float:
        """Where a value of the lower axis lies."""
        return self.left + (self.right - self.left) * _share(value, self.x)

    def at_y(self, value: float) -> float:
        """Where a value of the left axis lies."""
        return self.bottom - (self.bottom - self.top) * _share(value, self.y)

    def drawn(self) -> Markup:
        """The grid, the names of its lines and the titles of both axes."""
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
    """A straight line; ``style`` names how the page draws it."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=style)


def even_ticks(high: float) -> list[tuple[float, str]]:
    """Three to six round values from 0 up to ``high``."""
    step = _round_step(high)
    return [(i * step, f"{i * step:,.6g}") for i in range(int(high / step * (1 + 1e-9)) + 1)]


def rounded_up(high: float) -> float:
    """The next round value, for an axis to end at."""
    if high <= 0:
        return 1.0
    step = _round_step(high)
    return step * max(1, -(-high // step))


def _round_step(high: float) -> float:
    """1, 2 or 5 times a power of ten, three to six of which make ``high``."""
    if high <= 0:
        return 1.0
    magnitude = 10.0 ** (len(f"{int(high)}") - 1) if high >= 1 else 1.0
    while magnitude > high:
        magnitude /= 10
    return next(
        magnitude * factor
        for factor in (0.2, 0.25, 0.5, 1, 2)
        if high / (magnitude * factor) <= 6  # noqa: PLR2004
    )


def _share(value: float, axis: Axis) -> float:
    return (value - axis.low) / (axis.high - axis.low) if axis.high > axis.low else 0.0


def _written(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
