"""A later attempt at what a run has quarantined: the same shards, only those items, other files.

Its number is one above the highest that is there, so an attempt that was killed is not gone on
with: what it recovered counts, and the next attempt takes what is still quarantined. Two drivers
that choose the same number create the same files, and whoever is second drops its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard import Shard
from jobs.rundir.shard_reading import quarantined_items
from jobs.rundir.summary import Retried


@dataclass(frozen=True, kw_only=True)
class LaterAttempt:
    """What is to be tried again.

    Attributes:
        run: where.
        number: of the folder below ``retries``.
        shards: those that have quarantined items, with these items only.
    """

    run: RunDirectory
    number: int
    shards: tuple[Shard, ...]

    @property
    def num_items(self) -> int:
        """Images and video segments."""
        return sum(len(shard.items) for shard in self.shards)

    def result(self) -> Retried:
        """Read what has become of them by now."""
        left = quarantined_items(self.run, shards=[shard.number for shard in self.shards])
        num_left = sum(
            item.item_id in left.get(shard.number, ())
            for shard in self.shards
            for item in shard.items
        )
        return Retried(
            attempt=self.number if self.shards else None,
            num_items=self.num_items,
            num_recovered=self.num_items - num_left,
        )


def plan_attempt(run: RunDirectory) -> LaterAttempt:
    """Find what is quarantined now, and the number of an attempt at it."""
    bad = quarantined_items(run)
    attempts = run.list_shards().retries.values()
    return LaterAttempt(
        run=run,
        number=1 + max((number for of_shard in attempts for number, _ in of_shard), default=0),
        shards=tuple(
            Shard(number, tuple(item for item in items if item.item_id in bad[number]))
            for number, items in run.iterate_manifest()
            if number in bad
        ),
    )
