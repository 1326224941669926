"""Tables of the page: cells carry their value, so that a reader can sort by any column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jobs.html import formats

MOST_ROWS = 1500
"""Limit of the rows of one table; the page says how many rows are left out."""

LONGEST_NAME = 80
"""Limit of the characters of a name; with ``MOST_ROWS`` it bounds the size of a table."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of texts, flush left, or of numbers; a pointer on its title shows the hint."""

    title: str
    hint: str = ""
    is_text: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        text: what is written.
        value: the value for sorting; None comes last in both directions.
        bar: length of a bar behind the text, 0..1; None for none.
        swatch: ``#rrggbb`` of a coloured square before the text.
        tip: text shown while the pointer is over the cell.
        href: address that the text links to; empty for no link.
    """

    text: str
    value: float | str | None
    bar: float | None = None
    swatch: str | None = None
    tip: str = ""
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the caption is its name for a screen reader, the first cell names a row.

    ``num_left_out`` counts the rows beyond the limit.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    is_sortable: bool = True
    num_left_out: int = field(default=0)


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    *,
    is_sortable: bool = True,
    most_rows: int | None = MOST_ROWS,
) -> Table:
    """Make a table of at most ``most_rows`` rows, None for all; the other rows are counted."""
    listed = list(rows)
    return Table(
        caption=caption,
        columns=columns,
        rows=listed[:most_rows],
        is_sortable=is_sortable,
        num_left_out=len(listed) - len(listed[:most_rows]),
    )


def name_cell(name: object, *, swatch: str | None = None, longest: int = LONGEST_NAME) -> Cell:
    """Make a cell of text, such as the name of its row."""
    written = formats.text(name, longest)
    return Cell(text=written, value=written.casefold(), swatch=swatch)


def count_cell(value: float | None, *, largest: float | None = None) -> Cell:
    """A whole number, with a bar of its share of the ``largest``; None is undefined."""
    if value is None:
        return Cell(text=formats.UNDEFINED, value=None)
    bar = None if largest is None else value / largest
    return Cell(text=formats.count(value), value=value, bar=bar)


def rate_cell(value: float | None) -> Cell:
    """A number per second; None is undefined."""
    text = formats.UNDEFINED if value is None else formats.rate(value)
    return Cell(text=text, value=value)


def share_cell(value: float | None, *, has_bar: bool = False) -> Cell:
    """Make a cell of a number of 0..1; a negative number is undefined."""
    if value is None or value < 0:
        return Cell(text=formats.UNDEFINED, value=None)
    return Cell(
        text=formats.share(value),
        value=value,
        bar=min(value, 1.0) if has_bar else None,
        tip=f"{value:.6f}",
    )


def percent_cell(value: float | None, *, has_bar: bool = False, digits: int = 1) -> Cell:
    """Make a cell of a share in percent; a negative number is undefined."""
    if value is None or value < 0:
        return Cell(text=formats.UNDEFINED, value=None)
    return Cell(
        text=formats.percent(value, digits),
        value=value,
        bar=min(value, 1.0) if has_bar else None,
    )
