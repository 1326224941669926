"""Charts as inline SVG: lines, columns, reliability. Each comes with the table of its values.

They are drawn here and not in the reader's browser, so that the page shows them without a script
and on paper. The script adds only the value under the pointer, from data in the chart's attributes.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from jobs.html import formats
from jobs.html.svg import Axis, Frame, axis_from_zero, element, line, path
from jobs.html.tabular import Cell, Column, Table, count_cell, share_cell, table

NUM_COLORS = 8
_TABLE_POINTS = 11
_MOST_TICKS = 10


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with the table of its values, for readers who cannot see it or need the numbers.

    The legend has the name and the number of the colour of each line; it is empty for one line.
    """

    title: str
    image: Markup
    table: Table
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: its name, and x and y of its points, by rising x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One column of a histogram; an interval without end has an empty ``high``."""

    low: str
    high: str
    count: int

    @property
    def name(self) -> str:
        return formats.between(self.low, self.high)


def share_axis(title: str) -> Axis:
    """An axis from 0 to 1."""
    ticks = [(i / 5, f"{i / 5:g}") for i in range(6)]
    return Axis(title=title, low=0, high=1, ticks=ticks)


def line_chart(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> Figure:
    """Draw lines over common axes, the most important first."""
    frame = Frame(x=x, y=y)
    lines = [
        element(
            "path",
            d=path([(frame.at_x(a), frame.at_y(b)) for a, b in one.points]),
            class_=f"line s{i % NUM_COLORS}",
        )
        for i, one in reversed(list(enumerate(series)))
    ]
    cursor = element("line", y1=frame.top, y2=frame.bottom, class_="cursor", visibility="hidden")
    carried = {
        "x": {"title": x.title, "low": x.low, "high": x.high},
        "left": frame.left,
        "right": frame.right,
        "series": [
            {"name": one.name, "points": [[round(a, 4), round(b, 4)] for a, b in one.points]}
            for one in series
        ],
    }
    image = element(
        "svg",
        frame.drawn(),
        *lines,
        cursor,
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
        aria_label=f"{title}. The values are in the table below.",
        tabindex="0",
        class_="chart",
        data_lines=json.dumps(carried, separators=(",", ":")),
    )
    legend = [(one.name, i % NUM_COLORS) for i, one in enumerate(series)]
    return Figure(
        title=title,
        image=image,
        legend=legend if len(series) > 1 else (),
        table=_table_of_lines(title, x, series),
    )


def histogram(title: str, x_title: str, bars: Sequence[Bar], *, y_title: str) -> Figure:
    """Draw a column for each interval of ``x_title``, from left to right."""
    width = 1 / max(1, len(bars))
    every = -(-len(bars) // _MOST_TICKS)
    ends = [bar.low for bar in bars] + [bars[-1].high] if bars else []
    ticks = [(i * width, end) for i, end in enumerate(ends) if i % every == 0]
    frame = Frame(
        x=Axis(title=x_title, low=0, high=1, ticks=ticks),
        y=axis_from_zero(y_title, max((bar.count for bar in bars), default=0), is_whole=True),
    )
    columns = [
        _column(
            frame,
            (i + 0.08) * width,
            (i + 0.92) * width,
            bar.count,
            tip=f"{bar.name}: {formats.count(bar.count)}",
        )
        for i, bar in enumerate(bars)
    ]
    rows = [(Cell(text=bar.name, value=i), count_cell(bar.count)) for i, bar in enumerate(bars)]
    return Figure(
        title=title,
        image=_still(frame, title, columns),
        table=table(title, (Column(title=x_title, is_text=True), Column(title=y_title)), rows),
    )


def reliability(
    title: str, bins: Sequence[tuple[float, float, float, int]], *, y_title: str
) -> Figure:
    """Draw the precision of detections by score, with the line of perfect calibration.

    A bin is its low and high end, its precision, and its number of detections, which is not 0.
    """
    frame = Frame(x=share_axis("score"), y=share_axis(y_title))
    gap = 0.006
    columns = [
        _column(
            frame,
            low + gap,
            high - gap,
            precision,
            tip=f"score {_interval(low, high)}: precision {formats.percent(precision)}, "
            f"{formats.counted(count, 'detection')}",
        )
        for low, high, precision, count in bins
    ]
    diagonal = line(frame.at_x(0), frame.at_y(0), frame.at_x(1), frame.at_y(1), "ideal")
    rows = [
        (
            Cell(text=_interval(low, high), value=low),
            share_cell(precision),
            count_cell(count),
        )
        for low, high, precision, count in bins
    ]
    headings = (Column(title="score"), Column(title=y_title), Column(title="detections"))
    return Figure(
        title=title,
        image=_still(frame, title, [*columns, diagonal]),
        table=table(title, headings, rows),
    )


def _interval(low: float, high: float) -> str:
    return formats.between(f"{low:.2f}", f"{high:.2f}")


def _column(frame: Frame, left: float, right: float, value: float, *, tip: str) -> Markup:
    x, y = frame.at_x(left), frame.at_y(value)
    return element(
        "rect",
        x=x,
        y=y,
        width=max(0.5, frame.at_x(right) - x),
        height=max(0.0, frame.bottom - y),
        class_="column",
        data_tip=tip,
    )


def _still(frame: Frame, title: str, marks: Sequence[Markup]) -> Markup:
    return element(
        "svg",
        frame.drawn(),
        *marks,
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
        aria_label=f"{title}. The values are in the table below.",
        class_="chart",
    )


def _table_of_lines(title: str, x: Axis, series: Sequence[Series]) -> Table:
    """Tabulate every line at a few evenly spaced points."""
    step = (x.high - x.low) / (_TABLE_POINTS - 1)
    places = [x.low + i * step for i in range(_TABLE_POINTS)]
    rows = [
        (
            Cell(text=f"{place:.3g}", value=place),
            *(_read_off(one.points, place) for one in series),
        )
        for place in places
    ]
    return table(title, (Column(title=x.title), *(Column(title=one.name) for one in series)), rows)


def _read_off(points: Sequence[tuple[float, float]], place: float) -> Cell:
    i = bisect_left(points, place - 1e-9, key=lambda point: point[0])
    if i == len(points):
        return Cell(text=formats.UNDEFINED, value=None)
    return Cell(text=f"{points[i][1]:.3g}", value=points[i][1])
