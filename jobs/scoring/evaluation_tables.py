"""The tables of an evaluation as Parquet files: metrics, curves and confusions by category."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fcos_core.metrics.explain.curves import CURVE_IOUS
from jobs.rundir.schemas import CONFUSION, CURVES, METRICS_PER_AREA, METRICS_PER_CATEGORY


def encode_per_category(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode rows by the column names of ``METRICS_PER_CATEGORY`` as a Parquet file."""
    return _encode(list(rows), METRICS_PER_CATEGORY)


def encode_per_area(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode rows by the column names of ``METRICS_PER_AREA`` as a Parquet file."""
    return _encode(list(rows), METRICS_PER_AREA)


def encode_confusion(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode rows by the column names of ``CONFUSION`` as a Parquet file."""
    return _encode(list(rows), CONFUSION)


_IOUS = {**CURVE_IOUS, "iou_mean": None}


def encode_curves(curves: Mapping[str, Any]) -> bytes:
    """Encode the curves of ``fcos_core.metrics.explain.curves`` as a Parquet file."""
    owners = [{"category_id": None, **curves["overall"]}, *curves["per_category"]]
    rows: list[Mapping[str, Any]] = [
        {
            "category_id": own["category_id"],
            "iou": iou,
            "recall": curves["recall"] if own[name] else [],
            "precision": own[name],
        }
        for own in owners
        for name, iou in _IOUS.items()
    ]
    return _encode(rows, CURVES)


def _encode(rows: list[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()
