"""Tables of annotated objects by group: by area, crowding, longer side and aspect ratio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.html import formats
from jobs.html.tabular import Cell, Column, Table, count_cell, name_cell, table

TITLES = {
    "area": "By area",
    "crowding": "By crowding",
    "side": "By longer side",
    "aspect": "By aspect ratio",
}
"""Title of the table of each grouping."""


def group_table(
    title: str,
    columns: Sequence[Column],
    groups: Iterable[tuple[str, int, Sequence[Cell]]],
) -> Table:
    """Make a table with one row for each group that has objects.

    A group is its name, its number of objects and its cells for the further ``columns``.
    """
    rows = [
        (name_cell(name.replace("-", formats.DASH)), count_cell(total), *cells)
        for name, total, cells in groups
        if total
    ]
    first = (Column(title="objects are", is_text=True), Column(title="objects"))
    return table(title, (*first, *columns), rows, is_sortable=False)
