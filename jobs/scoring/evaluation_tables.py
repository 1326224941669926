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
from jobs.rundir.schemas import CONFUSION, CURVES, METRICS_PER_AREA, METRICS_PER_CATEGORY
from jobs.scoring.explaining import Explanation

_IOUS = {**CURVE_IOUS, "iou_mean": None}


def encode_tables(
    folder: str, metrics: Mapping[str, Any], explanation: Explanation
) -> dict[str, bytes]:
    """Write the tables as Parquet files in memory, by their names below a folder.

    ``metrics`` is the document of ``metrics.json``.
    """
    return {
        f"{folder}per_category": _encode(metrics["per_category"], METRICS_PER_CATEGORY),
        f"{folder}per_area": _encode(metrics["per_area"], METRICS_PER_AREA),
        f"{folder}confusion": _encode(explanation.confusion, CONFUSION),
        f"{folder}curves": _encode(_curve_rows(explanation.curves), CURVES),
    }


def _curve_rows(curves: Mapping[str, Any]) -> list[dict[str, Any]]:
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


def _encode(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()
