"""Tables of the page: cells that know their value, so that a reader can sort by any column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jobs.html import formats

MOST_ROWS = 1500
"""Of one table; a file of more categories than that is told so."""

LONGEST_NAME = 80
"""Characters of a cell; with ``MOST_ROWS``, what keeps a table within the page."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        title: its heading.
        hint: what it means, in a sentence.
        is_text: flush left and sorted as text; otherwise numbers.
    """

    title: str
    hint: str = ""
    is_text: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        text: what is written.
        value: what is sorted by; None comes last whichever way.
        bar: length of a bar behind the text, 0..1; None for none.
        swatch: ``#rrggbb`` of a coloured square before the text.
        tip: said when the pointer rests on the cell.
    """

    text: str
    value: float | str | None
    bar: float | None = None
    swatch: str | None = None
    tip: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that can be sorted.

    Attributes:
        caption: what it shows; for those who hear the page it is its name.
        columns: its columns.
        rows: their cells; the first names the row.
        is_sortable: whether its headings are buttons.
        num_left_out: rows beyond what a page can bear.
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
) -> Table:
    """Make a table of at most ``MOST_ROWS`` rows; what is left out is counted."""
    listed = list(rows)
    return Table(
        caption=caption,
        columns=columns,
        rows=listed[:MOST_ROWS],
        is_sortable=is_sortable,
        num_left_out=max(0, len(listed) - MOST_ROWS),
    )


def name_cell(name: object, *, swatch: str | None = None, longest: int = LONGEST_NAME) -> Cell:
    """A cell of text, such as one that names its row."""
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
    """A number of 0..1; negative is undefined."""
    if value is None or value < 0:
        return Cell(text=formats.UNDEFINED, value=None)
    return Cell(
        text=formats.share(value),
        value=value,
        bar=min(value, 1.0) if has_bar else None,
        tip=f"{value:.6f}",
    )


def percent_cell(value: float | None, *, has_bar: bool = False, digits: int = 1) -> Cell:
    """A share in percent; negative is undefined."""
    if value is None or value < 0:
        return Cell(text=formats.UNDEFINED, value=None)
    return Cell(
        text=formats.percent(value, digits),
        value=value,
        bar=min(value, 1.0) if has_bar else None,
    )
