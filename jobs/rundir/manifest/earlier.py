"""Manifests of earlier versions: one file, ``manifest.parquet``, without an index."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.rundir.manifest.index import Index
from jobs.rundir.manifest.part import OpenPart, Part
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.schemas import MANIFEST
from jobs.rundir.sealed_parquet import metadata_of, open_sealed
from jobs.rundir.untrusted.item_values import most_items, num_planned_rows, possible_items
from jobs.rundir.untrusted.manifest_metadata import require_possible_metadata
from jobs.rundir.untrusted.parquet_file import UntrustedFile

NAME = "manifest.parquet"
VERSION = 2
"""The version of the tables of runs that are still read, and not resumed."""

_ITEMS = pa.schema([field for field in MANIFEST if field.name != "problem"])


def open_earlier(data: bytes) -> tuple[Index, OpenPart]:
    """Read the manifest of an earlier version as one part, and make the index that it lacks.

    Raises:
        ValueError: it is damaged, or of a version that is not read.
    """
    file = open_sealed(data, max_rows=most_items(len(data)), is_streamed=True)
    metadata = metadata_of(file)
    version = metadata.get("schema_version")
    if version != str(VERSION) or not file.schema.equals(_ITEMS):
        raise ValueError(f"it has other columns, or tables of version {version}")
    require_possible_metadata(metadata)
    completed = _WithProblems(
        metadata=file.metadata,
        schema=MANIFEST,
        num_rows=file.num_rows,
        file=file.file,
        table=file.table,
    )
    part = Part(
        name=NAME,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        first_item_id=0,
        num_items=file.num_rows,
    )
    shards, rows = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for batch in possible_items(completed.iter_batches()):
        shards.append(batch.column("shard").to_numpy())
        rows.append(num_planned_rows(batch))
    table = ShardTable.of_items(np.concatenate(shards), np.concatenate(rows), part=0, first=0)
    index = Index(metadata=metadata, parts=(part,), shards=table)
    return index, OpenPart(part, completed)


@dataclass(frozen=True, kw_only=True, eq=False)
class _WithProblems(UntrustedFile):
    """The items of an earlier manifest, with the column that it lacks: nothing is known there."""

    def iter_batches(self, groups: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
        for batch in super().iter_batches(groups):
            nothing = pa.nulls(batch.num_rows, pa.string())
            yield pa.RecordBatch.from_arrays([*batch.columns, nothing], schema=MANIFEST)
