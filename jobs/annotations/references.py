"""Ids that must be unique, and references that must name an id; whole columns at once."""

import numpy as np

from jobs.annotations.batches import POSITION, BoolArray, Columns, ListReader
from jobs.annotations.json_columns import Int64Array


def without_repeats(reader: ListReader, columns: Columns) -> Columns:
    """Refuse every entry whose ``id`` an earlier entry has; return the columns of the others."""
    ids, positions = columns["id"], columns[POSITION]
    first, _ = _find(ids, ids)

    def reason(row: int) -> str:
        return f"id {ids[row]} is also that of {reader.name}[{positions[first[row]]}]"

    return reader.keep(columns, first == np.arange(len(ids)), reason)


def with_index(
    reader: ListReader, columns: Columns, key: str, index: str, others: tuple[str, Columns]
) -> Columns:
    """Turn a column of another list's ids into indices; refuse ids that list does not have.

    The column ``index`` replaces the column ``key``. ``others`` are the other list's name and
    columns.
    """
    values = columns[key]
    list_name, other_columns = others
    indices, is_known = _find(values, other_columns["id"])
    invalid = reader.invalid.positions(list_name)

    def reason(row: int) -> str:
        value = int(values[row])
        if value in invalid:
            return f"{key} {value} is that of {list_name}[{invalid[value]}], which is invalid"
        return f"{key} {value} is not among the {list_name}"

    rest = {name: column for name, column in columns.items() if name != key}
    return reader.keep({**rest, index: indices}, is_known, reason)


def require_known(
    reader: ListReader, columns: Columns, key: str, known: Int64Array, where: str
) -> None:
    """Refuse ids that are not known; ``where`` says in messages what has the known ones."""
    _, is_known = _find(columns[key], known)
    reader.keep(
        columns, is_known, lambda row: f"{key} {columns[key][row]} is not among the {where}"
    )


def _find(values: Int64Array, ids: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Find the index of each value's first occurrence among the ids, and whether there is one."""
    if not len(ids):
        return np.zeros_like(values), np.zeros(len(values), dtype=np.bool_)
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids, values, sorter=order)
    index = order[np.minimum(place, len(ids) - 1)]
    return index, ids[index] == values
