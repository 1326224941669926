"""The tables of an evaluation as Parquet files: metrics, curves and confusions by category."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fcos_core.metrics.explain.curves import CURVE_IOUS

_IOUS = {**CURVE_IOUS, "iou_mean": None}


def curve_rows(curves: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turn the description of ``fcos_core.metrics.explain.curves`` into rows of ``CURVES``."""
    owners = [{"category_id": None, **curves["overall"]}, *curves["per_category"]]
    return [
        {
            "category_id": own["category_id"],
            "iou": iou,
            "recall": curves["recall"] if own[name] else [],
            "precision": own[name],
        }
        for own in owners
        for name, iou in _IOUS.items()
    ]


def encode_rows(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    """Encode rows by the column names of a schema as a Parquet file."""
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()
