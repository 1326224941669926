"""Ids that must be unique and references that must lead to one, over whole columns at once."""

import numpy as np

from jobs.annotations.batches import POSITION, BoolArray, Columns, GatheredList
from jobs.annotations.json_columns import Int64Array


def without_repeats(gathered: GatheredList, columns: Columns) -> Columns:
    """Refuse every entry whose ``id`` an earlier one has.

    Args:
        gathered: the list.
        columns: its columns.

    Returns:
        The columns of the entries that are left.
    """
    ids, positions = columns["id"], columns[POSITION]
    first, _ = _find(ids, ids)

    def reason(row: int) -> str:
        return f"id {ids[row]} is also that of {gathered.name}[{positions[first[row]]}]"

    return gathered.keep(columns, first == np.arange(len(ids)), reason)


def with_index(
    gathered: GatheredList, columns: Columns, key: str, index: str, others: tuple[str, Columns]
) -> Columns:
    """Turn a column of another list's ids into one of indices; refuse ids it does not have.

    Args:
        gathered: the list that refers.
        columns: its columns.
        key: the column of ids, which the result has no more.
        index: the name of the new column.
        others: name and columns of the list referred to.

    Returns:
        The columns of the entries that are left.
    """
    values = columns[key]
    list_name, other_columns = others
    indices, is_known = _find(values, other_columns["id"])
    refused = gathered.refusals.positions(list_name)

    def reason(row: int) -> str:
        value = int(values[row])
        if value in refused:
            return f"{key} {value} is that of {list_name}[{refused[value]}], which is invalid"
        return f"{key} {value} is not among the {list_name}"

    rest = {name: column for name, column in columns.items() if name != key}
    return gathered.keep({**rest, index: indices}, is_known, reason)


def _find(values: Int64Array, ids: Int64Array) -> tuple[Int64Array, BoolArray]:
    """The index of each value's first occurrence among the ids, and whether there is one."""
    if not len(ids):
        return np.zeros_like(values), np.zeros(len(values), dtype=np.bool_)
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids, values, sorter=order)
    index = order[np.minimum(place, len(ids) - 1)]
    return index, ids[index] == values
