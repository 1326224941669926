"""The rows of a run's shards, in whichever process draws them."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jobs.media.drawing.detections import Found
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row, table_to_rows
from jobs.rundir.shard_reading import read_rows

_KEPT_SHARDS = 4
"""Per process: the pieces of work that need one shard come one after the other."""


@dataclass(frozen=True, kw_only=True)
class ShardRows:
    """Which file, and which later attempts, the rows of a shard are in.

    Attributes:
        run: uri of the run's directory.
        run_id: what the files must say.
        shard: its number.
        attempts: at its quarantined items, oldest first.
    """

    run: str
    run_id: str
    shard: int
    attempts: tuple[int, ...]

    def read(self) -> Sequence[Row]:
        """Read and check them."""
        return _read(self)


def found_in(row: Row, min_score: float, category_ids: frozenset[int] | None) -> Found:
    """What is drawn of a row."""
    found = Found(boxes=row.boxes, scores=row.scores, category_ids=row.category_ids)
    return found.chosen(min_score, category_ids)


@lru_cache(maxsize=_KEPT_SHARDS)
def _read(rows: ShardRows) -> Sequence[Row]:
    run = RunDirectory(rows.run)
    return table_to_rows(read_rows(run, rows.shard, rows.attempts, run_id=rows.run_id))
