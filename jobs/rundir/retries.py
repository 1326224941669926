"""Retry quarantined items: the same shards, only those items, in files of their own.

The number of a retry is one above the highest that exists. So a retry that was killed is never
continued: what it recovered counts, and the next retry takes what is still quarantined. Two drivers
that choose the same number create the same files, and the second one drops its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard import Shard
from jobs.rundir.shard_reading import quarantined_items


@dataclass(frozen=True, kw_only=True)
class RetryResult:
    """How many quarantined items a retry recovered: all their rows are ok now.

    ``number`` is None when nothing was quarantined.
    """

    number: int | None
    num_items: int
    num_recovered: int

    def summary(self) -> dict[str, Any]:
        """The counts, by the names that scripts rely on."""
        return {
            "attempt": self.number,
            "items_retried": self.num_items,
            "items_recovered": self.num_recovered,
        }


@dataclass(frozen=True, kw_only=True)
class Retry:
    """The quarantined items of a run, to be computed again, in shards that hold only them."""

    run: RunDirectory
    number: int
    shards: tuple[Shard, ...]

    @property
    def num_items(self) -> int:
        """Images and video segments."""
        return sum(len(shard.items) for shard in self.shards)

    def result(self) -> RetryResult:
        """Count which of the items are still quarantined."""
        left = quarantined_items(self.run, shards=[shard.number for shard in self.shards])
        num_left = sum(
            item.item_id in left.get(shard.number, ())
            for shard in self.shards
            for item in shard.items
        )
        return RetryResult(
            number=self.number if self.shards else None,
            num_items=self.num_items,
            num_recovered=self.num_items - num_left,
        )


def plan_retry(run: RunDirectory, *, numbers: range | None = None) -> Retry:
    """Find the items that are quarantined now, and the number of the next retry.

    ``numbers`` are the shards to look at; None for all.
    """
    manifest = run.manifest()
    quarantined = quarantined_items(run, shards=numbers)
    attempts = [number for retries in run.list_shards().retries.values() for number, _ in retries]
    return Retry(
        run=run,
        number=1 + max(attempts, default=0),
        shards=tuple(
            Shard(number, tuple(item for item in items if item.item_id in quarantined[number]))
            for number, items in manifest.iterate(manifest.places(list(quarantined)))
        ),
    )
