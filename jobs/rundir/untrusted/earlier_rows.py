"""Rows of schema version 2, with the columns that they lack."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import numpy as np
import pyarrow as pa

from jobs.rundir.schemas import DETECTION, DETECTIONS

VERSION = 2

_DETECTION = pa.struct([field for field in DETECTION if field.name != "category_name"])
SCHEMA = pa.schema(
    [
        field.with_type(pa.list_(pa.field("element", _DETECTION, nullable=False)))
        if field.name == "detections"
        else field
        for field in DETECTIONS
        if field.name != "note"
    ]
)


def completed(table: pa.Table) -> pa.Table:
    """Add what version 2 lacks: no note, and each category named by its id.

    ``table`` has some or all columns of ``SCHEMA``.
    """
    columns = {name: table.column(name) for name in table.column_names}
    if "detections" in columns:
        columns["detections"] = pa.chunked_array(
            [_with_names(chunk) for chunk in columns["detections"].chunks],
            DETECTIONS.field("detections").type,
        )
    columns["note"] = pa.nulls(table.num_rows, pa.string())
    fields = [field for field in DETECTIONS if field.name in columns]
    return pa.table([columns[field.name] for field in fields], schema=pa.schema(fields))


def _with_names(lists: pa.ListArray) -> pa.ListArray:
    elements = lists.flatten()
    ids = elements.field("category_id")
    children = [
        ids.cast(pa.string()) if field.name == "category_name" else elements.field(field.name)
        for field in DETECTION
    ]
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.StructArray.from_arrays(children, fields=list(DETECTION)),
        type=DETECTIONS.field("detections").type,
        mask=lists.is_null(),
    )
