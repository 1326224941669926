"""Sorts more rows than memory holds: sorted runs on disk, merged a few at a time.

A merge reads a block of every run. Up to the smallest of the blocks' last keys, no later block can
hold a row that belongs before, so these rows are sorted together and done.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.inputs.spool import MEMORY_ROWS, Spool, TemporaryFolder, rebatched

FAN_IN = 32
"""The most runs that are merged at once: each has a file open and a block in memory."""

Key = tuple[Any, ...]


def external_sort(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    by: Sequence[str],
    *,
    folder: TemporaryFolder | None = None,
    memory_rows: int = MEMORY_ROWS,
    fan_in: int = FAN_IN,
) -> Spool:
    """Sort rows; those of equal keys keep their order.

    Args:
        batches: the rows.
        schema: of the rows.
        by: names of the columns to sort by, the first one first; numbers or bytes, without nulls.
        folder: for what does not fit into memory.
        memory_rows: the most rows to keep in memory, up to a few batches.
        fan_in: the most runs to merge at once.

    Returns:
        The rows in order.

    Raises:
        ConfigError: the disk is full.
    """
    folder = folder or TemporaryFolder()
    block_rows = max(1, memory_rows // fan_in)
    runs: list[Spool] = []
    held: list[pa.RecordBatch] = []
    num_held = 0
    for batch in batches:
        held.append(batch)
        num_held += batch.num_rows
        if num_held >= memory_rows:
            runs.append(_sorted_run(held, schema, by, folder, block_rows, memory_rows=0))
            held, num_held = [], 0
    if held or not runs:
        rest = memory_rows if not runs else 0
        runs.append(_sorted_run(held, schema, by, folder, block_rows, memory_rows=rest))
    while len(runs) > 1:
        # The runs that were cut first come first in every merge, so that equal keys keep order.
        groups = [runs[i : i + fan_in] for i in range(0, len(runs), fan_in)]
        runs = [_merged(group, schema, by, folder, block_rows) for group in groups]
    return runs[0]


def _sorted_run(
    batches: list[pa.RecordBatch],
    schema: pa.Schema,
    by: Sequence[str],
    folder: TemporaryFolder,
    block_rows: int,
    *,
    memory_rows: int,
) -> Spool:
    run = Spool(schema, folder, memory_rows=memory_rows)
    for batch in rebatched(iter(_sorted(batches, schema, by).to_batches()), block_rows):
        run.append(batch)
    run.finish()
    return run


def _sorted(batches: list[pa.RecordBatch], schema: pa.Schema, by: Sequence[str]) -> pa.Table:
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    # Stable, as is said in its reference; Table.sort_by starts threads and imports a query engine.
    return table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in by]))


class _Block:
    """The rows of a run that are read and not merged yet."""

    def __init__(self, run: Spool, by: Sequence[str]) -> None:
        self._batches = run.batches()
        self._by = by
        self._batch: pa.RecordBatch | None = None
        self._keys: list[pa.Array] = []
        self.last: Key = ()
        self.read()

    @property
    def is_empty(self) -> bool:
        return self._batch is None

    def read(self) -> None:
        self._hold(next(self._batches, None))

    def take(self, bound: Key, *, with_equal: bool) -> pa.RecordBatch:
        """Take the rows whose keys are below a bound, or equal to it."""
        assert self._batch is not None
        find = bisect_right if with_equal else bisect_left
        place = find(range(self._batch.num_rows), bound, key=self._key)
        taken = self._batch.slice(0, place)
        if place == 0:
            return taken
        if place < self._batch.num_rows:
            self._hold(self._batch.slice(place))
        else:
            self.read()
        return taken

    def _hold(self, batch: pa.RecordBatch | None) -> None:
        self._batch = batch
        if batch is not None:
            self._keys = [batch.column(name) for name in self._by]
            self.last = self._key(batch.num_rows - 1)

    def _key(self, row: int) -> Key:
        return tuple(column[row].as_py() for column in self._keys)


def _merged(
    runs: list[Spool],
    schema: pa.Schema,
    by: Sequence[str],
    folder: TemporaryFolder,
    block_rows: int,
) -> Spool:
    if len(runs) == 1:
        return runs[0]
    merged = Spool(schema, folder, memory_rows=0)
    for batch in rebatched(_merge(runs, schema, by), block_rows):
        merged.append(batch)
    merged.finish()
    for run in runs:
        run.close()
    return merged


def _merge(runs: list[Spool], schema: pa.Schema, by: Sequence[str]) -> Iterator[pa.RecordBatch]:
    blocks = [block for block in (_Block(run, by) for run in runs) if not block.is_empty]
    while blocks:
        bound = min(block.last for block in blocks)
        least = next(place for place, block in enumerate(blocks) if block.last == bound)
        # Rows that equal the bound may follow in this run's next block; those of the runs behind
        # it come after them.
        taken = [block.take(bound, with_equal=place <= least) for place, block in enumerate(blocks)]
        yield from _sorted(taken, schema, by).to_batches()
        blocks = [block for block in blocks if not block.is_empty]
