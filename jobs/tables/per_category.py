"""The metrics of each category as a Parquet file."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.tables.schemas import METRICS_PER_CATEGORY


def encode_per_category(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Write one row per category as a Parquet file in memory.

    Args:
        rows: values by the column names of ``METRICS_PER_CATEGORY``.
    """
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(list(rows), schema=METRICS_PER_CATEGORY)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()
