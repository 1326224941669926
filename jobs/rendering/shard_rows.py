"""The rows of a run's shards, as every drawing process reads them."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row, table_to_rows
from jobs.rundir.shard_reading import read_rows, recovered_items

_KEPT_SHARDS = 4
"""Per process: the work items that need one shard follow each other."""


@dataclass(frozen=True, kw_only=True)
class ShardRows:
    """Where the rows of one shard are: in its file, and in those of retries, oldest first.

    The files must carry the id of the run; ``num_planned`` counts the shard's rows in its plan.
    """

    run: str
    run_id: str
    shard: int
    attempts: tuple[int, ...]
    num_planned: int

    def read(self) -> Sequence[Row]:
        return _read(self)

    def recovered(self) -> frozenset[int]:
        """Return the ids of items with rows that come from a retry."""
        return _recovered(self)


@lru_cache(maxsize=_KEPT_SHARDS)
def _read(rows: ShardRows) -> Sequence[Row]:
    run = RunDirectory(rows.run)
    table = read_rows(
        run, rows.shard, rows.attempts, run_id=rows.run_id, num_planned=rows.num_planned
    )
    return table_to_rows(table)


@lru_cache(maxsize=_KEPT_SHARDS)
def _recovered(rows: ShardRows) -> frozenset[int]:
    return recovered_items(
        RunDirectory(rows.run),
        rows.shard,
        rows.attempts,
        run_id=rows.run_id,
        num_planned=rows.num_planned,
    )
