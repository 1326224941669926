"""The shards of a run as a sequence that holds none: made when asked for, loaded by the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from fcos_core.errors import StorageError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.shard import AnyShard, PlannedShard, Shard


class PlannedShards(Sequence[PlannedShard]):
    """The shards of a table; a driver of a hundred million images holds a few bytes of each."""

    def __init__(self, table: ShardTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, place: int) -> PlannedShard: ...

    @overload
    def __getitem__(self, place: slice) -> PlannedShards: ...

    def __getitem__(self, place: int | slice) -> PlannedShard | PlannedShards:
        if isinstance(place, slice):
            return PlannedShards(self._table.select(place))
        return PlannedShard(int(self._table.numbers[place]), int(self._table.num_rows[place]))

    @property
    def num_rows(self) -> int:
        """Images and frames of all of them."""
        return self._table.total_rows


class ShardLoader:
    """Reads the items of planned shards from the run's manifest, in the worker's process."""

    def __init__(self, run_uri: str) -> None:
        self._run = RunDirectory(run_uri)
        self._manifest: Manifest | None = None

    def load(self, shard: AnyShard) -> Shard:
        """Make a shard that has its items.

        Raises:
            ConfigError: the manifest is damaged.
            StorageError: the shard is not in it, or it cannot be read.
        """
        if isinstance(shard, Shard):
            return shard
        if self._manifest is None:
            self._manifest = self._run.manifest()
        places = self._manifest.places([shard.number])
        for number, items in self._manifest.iterate(places):
            return Shard(number, tuple(items), shard.poison)
        raise StorageError(f"{self._manifest.uri!r} has no shard {shard.number}")
