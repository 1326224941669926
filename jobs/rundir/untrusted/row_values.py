"""Whether the values of rows are possible: finite, ordered, in range, inside their image."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.rundir.schemas import COORDINATES

BoolArray = npt.NDArray[np.bool_]

_ROUNDING = 2.0**-20
"""A box is clipped in the network's input; scaled back in float32, it is beyond a side by less."""

_LEAST = {"width": 1, "height": 1, "frame_index": 0, "last_frame": 0}


def require_possible_rows(table: pa.Table) -> None:
    """Refuse rows that no detector can have written.

    Args:
        table: columns of ``DETECTIONS``, all or some; those that are there are checked.

    Raises:
        ValueError: the first row, or detection of a row, whose value is impossible.
    """
    table.validate(full=True)  # texts are UTF-8, lists lie inside their elements
    for name in _LEAST.keys() & set(table.column_names):
        _require_least(table.column(name), name)
    if "timestamp_s" in table.column_names:
        times = pc.fill_null(table.column("timestamp_s"), 0.0).to_numpy()
        _refuse_first(~np.isfinite(times), lambda row: f"row {row}: timestamp_s {times[row]}")
    if "detections" in table.column_names:
        _require_possible_detections(table)


def unknown_categories(table: pa.Table, known: Collection[int]) -> list[int]:
    """List the category ids of detections that are none of the known ones."""
    elements = pc.list_flatten(table.column("detections"))
    found = pc.unique(pc.struct_field(elements, "category_id")).to_pylist()
    return sorted(set(found).difference(known))


def _require_least(column: Any, name: str) -> None:  # noqa: ANN401 -- an untyped Arrow array
    least = _LEAST[name]
    smallest = pc.min(column).as_py()
    if smallest is not None and smallest < least:
        row = pc.index(column, smallest).as_py()
        raise ValueError(f"row {row}: {name} {smallest}, must be at least {least}")


def _require_possible_detections(table: pa.Table) -> None:
    lists = table.column("detections")
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    row_of = np.repeat(np.arange(len(counts)), counts)
    elements = pc.list_flatten(lists)
    scores = _numbers(elements, "score")
    _refuse_first(
        ~((scores >= 0) & (scores <= 1)),
        lambda i: f"{_place(row_of, i)}: score {scores[i]}, must be from 0 to 1",
    )
    rises = (scores[1:] > scores[:-1]) & (row_of[1:] == row_of[:-1])
    _refuse_first(
        rises,
        lambda i: f"{_place(row_of, i + 1)}: score {scores[i + 1]} behind {scores[i]}",
    )
    x_min, y_min, x_max, y_max = (_numbers(elements, name) for name in COORDINATES)
    widths, heights = (_limits(table, name)[row_of] for name in ("width", "height"))
    is_inside = (x_min >= 0) & (x_min <= x_max) & (x_max <= widths)
    is_inside &= (y_min >= 0) & (y_min <= y_max) & (y_max <= heights)
    _refuse_first(
        ~is_inside,
        lambda i: (
            f"{_place(row_of, i)}: box {x_min[i]} {y_min[i]} {x_max[i]} {y_max[i]} is not inside "
            f"its image of {widths[i]:.0f} x {heights[i]:.0f} pixels"
        ),
    )


def _numbers(elements: Any, name: str) -> npt.NDArray[Any]:  # noqa: ANN401
    return pc.struct_field(elements, name).to_numpy()


def _limits(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """Return the largest coordinate of each row; infinity where the size is unknown."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.inf)
    sizes = pc.fill_null(table.column(name).cast(pa.float64()), np.inf).to_numpy()
    return sizes * (1 + _ROUNDING)


def _refuse_first(is_wrong: BoolArray, describe: Callable[[int], str]) -> None:
    if is_wrong.any():
        raise ValueError(describe(int(is_wrong.argmax())))


def _place(row_of: npt.NDArray[np.int64], detection: int) -> str:
    row = row_of[detection]
    return f"row {row}, detection {detection - np.searchsorted(row_of, row)}"
