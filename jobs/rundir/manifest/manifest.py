"""Reads the manifest of a run, of any number of parts, a few items at a time."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fcos_core.errors import ConfigError, one_line
from jobs.rundir.manifest import earlier
from jobs.rundir.manifest.index import Growth, Index, decode_index, index_name
from jobs.rundir.manifest.part import OpenPart, Part, open_part
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.rows import ManifestItem, table_to_items
from jobs.rundir.schemas import MANIFEST, SCHEMA_VERSION, SUPERSEDED
from jobs.rundir.sealed_parquet import open_sealed
from jobs.rundir.untrusted.item_values import num_planned_rows, table_of_items
from jobs.storage import MissingError, join, storage_for

FOLDER = "manifest"

Places = npt.NDArray[np.int64]
"""Rows of a ``ShardTable``, rising."""


def is_begun(run_uri: str) -> bool:
    """Say whether a run was begun here: its first index exists, or the manifest of an older one."""
    storage = storage_for(run_uri)
    return any(storage.stat(uri) is not None for uri in _beginnings(run_uri))


def _beginnings(run_uri: str) -> tuple[str, str]:
    """The file that begins a run, and the one that began it in earlier versions."""
    return join(run_uri, FOLDER, index_name(0)), join(run_uri, earlier.NAME)


def is_of_earlier_version(run_uri: str) -> bool:
    """Say whether a run was begun by a version whose manifest is one file."""
    has_index, has_earlier = (
        storage_for(run_uri).stat(uri) is not None for uri in _beginnings(run_uri)
    )
    return has_earlier and not has_index


@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """The indexes of a run, read; its items are read when they are asked for.

    Attributes:
        run_uri: of the run's directory.
        indexes: the one that began the run, then those of its extensions.
        shards: of all indexes.
        schema_version: of the run's tables.
        earlier_part: the whole manifest, where an earlier version wrote it.
    """

    run_uri: str
    indexes: tuple[Index, ...]
    shards: ShardTable
    schema_version: int = SCHEMA_VERSION
    earlier_part: OpenPart | None = None
    _opened: dict[int, OpenPart] = field(default_factory=dict[int, OpenPart])

    @classmethod
    def read(cls, run_uri: str) -> Manifest:
        """Read the indexes of a run.

        Raises:
            ConfigError: the run was not begun, or an index is damaged.
        """
        storage = storage_for(run_uri)
        indexes: list[Index] = []
        while True:
            uri = join(run_uri, FOLDER, index_name(len(indexes)))
            if storage.stat(uri) is None:
                break
            try:
                indexes.append(decode_index(storage.read(uri), indexes))
            except (ValueError, pa.ArrowException) as error:
                raise ConfigError(f"{uri!r} is damaged: {one_line(error)}") from error
        if not indexes:
            return cls._read_earlier(run_uri)
        shards = ShardTable.concat([index.shards for index in indexes])
        return cls(run_uri=run_uri, indexes=tuple(indexes), shards=shards)

    @classmethod
    def _read_earlier(cls, run_uri: str) -> Manifest:
        uri = join(run_uri, earlier.NAME)
        if storage_for(run_uri).stat(uri) is None:
            first = f"{FOLDER}/{index_name(0)}"
            raise ConfigError(f"{run_uri!r} is no run directory: there is no {first}")
        try:
            index, part = earlier.open_earlier(storage_for(run_uri).read(uri))
        except (ValueError, pa.ArrowException) as error:
            raise ConfigError(f"{uri!r} is damaged: {one_line(error)}") from error
        return cls(
            run_uri=run_uri,
            indexes=(index,),
            shards=index.shards,
            schema_version=earlier.VERSION,
            earlier_part=part,
        )

    @property
    def uri(self) -> str:
        """Of the file that began the run, for messages."""
        if self.earlier_part is not None:
            return join(self.run_uri, earlier.NAME)
        return join(self.run_uri, FOLDER, index_name(0))

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the run was begun with: ``run_id``, ``fingerprint`` and more."""
        return self.indexes[0].metadata

    @property
    def run_id(self) -> str:
        return self.metadata["run_id"]

    @property
    def skipped(self) -> int:
        """Files that the newest listing of the inputs passed over."""
        return int(self.indexes[-1].metadata.get("skipped", "0"))

    @property
    def growths(self) -> list[Growth]:
        """How each extension's listing differed, in order."""
        return [index.growth for index in self.indexes if index.growth is not None]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts of all indexes, by the number that ``ShardTable.parts`` has."""
        return tuple(part for index in self.indexes for part in index.parts)

    def names(self) -> set[str]:
        """The names of all files in ``manifest/`` that belong to the run."""
        if self.earlier_part is not None:
            return set()
        names = {index_name(generation) for generation in range(len(self.indexes))}
        names |= {part.name for part in self.parts}
        return names | {index.superseded[0] for index in self.indexes if index.superseded}

    def places(self, numbers: Sequence[int] | npt.NDArray[np.integer] | None = None) -> Places:
        """Find shards in the table by their numbers, those that exist; None for all."""
        if numbers is None:
            return np.arange(len(self.shards))
        return np.flatnonzero(np.isin(self.shards.numbers, np.asarray(numbers, np.int64)))

    def iterate(
        self, places: Places | None = None, *, is_current: bool = False
    ) -> Iterator[tuple[int, list[ManifestItem]]]:
        """Read items shard by shard, in order, few at a time; ``iterate_tables`` says more.

        Yields:
            A shard's number and its items.
        """
        for number, table in self.iterate_tables(places, is_current=is_current):
            yield number, table_to_items(table)

    def iterate_tables(
        self, places: Places | None = None, *, is_current: bool = False
    ) -> Iterator[tuple[int, pa.Table]]:
        """Read items shard by shard, in order, few at a time.

        Args:
            places: rows of ``shards``, rising; None for all.
            is_current: whether items are left out whose place a newer item has taken. A shard may
                then be without items.

        Yields:
            A shard's number and its items, as a ``MANIFEST`` table.

        Raises:
            ConfigError: a part is missing or damaged.
        """
        places = self.places() if places is None else places
        replaced = self.replaced if is_current else np.zeros(0, np.int64)
        breaks = np.flatnonzero((np.diff(places) != 1) | (np.diff(self.shards.parts[places]) != 0))
        for run in np.split(places, breaks + 1):
            if not len(run):
                continue
            for number, table in self._consecutive(int(run[0]), int(run[-1]) + 1):
                yield number, _without(table, replaced)

    def read_table(self) -> pa.Table:
        """Read all current items as one table.

        Raises:
            ConfigError: a part is damaged, or unpacks to too much.
        """
        size_bytes = sum(part.size_bytes for part in self.parts)
        batches = (
            batch
            for _, table in self.iterate_tables(is_current=True)
            for batch in table.combine_chunks().to_batches()
        )
        try:
            return table_of_items(batches, size_bytes)
        except ValueError as error:
            raise ConfigError(f"{self.uri!r} is damaged: {error}") from error

    @cached_property
    def superseded(self) -> pa.Table:
        """The ``SUPERSEDED`` table of all extensions.

        Raises:
            ConfigError: a file is missing or damaged.
        """
        files = [index.superseded for index in self.indexes if index.superseded is not None]
        found = [self._read_superseded(name, digest) for name, digest in files]
        return pa.concat_tables([SUPERSEDED.empty_table(), *found])

    @cached_property
    def replaced(self) -> npt.NDArray[np.int64]:
        """The items whose place a newer item has taken, rising."""
        table = self.superseded
        found = table.filter(table.column("is_replaced")).column("item_id").to_numpy()
        return np.unique(found)

    def _read_superseded(self, name: str, digest: str) -> pa.Table:
        uri = join(self.run_uri, FOLDER, name)
        data = self._read(uri)
        try:
            return _superseded_of(data, digest, max_rows=self.shards.total_items)
        except (ValueError, pa.ArrowException) as error:
            raise ConfigError(f"{uri!r} is damaged: {one_line(error)}") from error

    def _consecutive(self, start: int, end: int) -> Iterator[tuple[int, pa.Table]]:
        """Read neighbouring shards of one part.

        Yields:
            As ``iterate_tables``.

        Raises:
            ConfigError: the part is damaged.
        """
        shards = self.shards.select(slice(start, end))
        number = int(shards.parts[0])
        try:
            items = self._open(number).batches(
                int(shards.first_items[0]), shards.total_items, shard=int(shards.numbers[0])
            )
            yield from _by_shard(items, shards)
        except (ValueError, pa.ArrowException) as error:
            uri = self._part_uri(number)
            raise ConfigError(f"{uri!r} is damaged: {one_line(error)}") from error

    def _read(self, uri: str) -> bytes:
        """Read a file that an index names, and which therefore must be there.

        Raises:
            ConfigError: it is missing.
        """
        try:
            return storage_for(uri).read(uri)
        except MissingError as error:
            raise ConfigError(f"a file of the run's manifest is missing: {error}") from error

    def _part_uri(self, number: int) -> str:
        folder = "" if self.earlier_part is not None else FOLDER
        return join(self.run_uri, *filter(None, (folder, self.parts[number].name)))

    def _open(self, number: int) -> OpenPart:
        """Open a part; the one that was opened last stays open."""
        if self.earlier_part is not None:
            return self.earlier_part
        if number not in self._opened:
            self._opened.clear()
            data = self._read(self._part_uri(number))
            self._opened[number] = open_part(self.parts[number], data, run_id=self.run_id)
        return self._opened[number]


def _superseded_of(data: bytes, digest: str, *, max_rows: int) -> pa.Table:
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("its bytes are not those that the index names: the sha256 differs")
    # Neighbouring items take next to no bytes, so that these say nothing of their number.
    file = open_sealed(data, max_rows=max_rows, is_streamed=True)
    if not file.schema.equals(SUPERSEDED):
        raise ValueError("it has other columns")
    return pa.Table.from_batches(file.iter_batches(), SUPERSEDED)


def _by_shard(
    batches: Iterator[pa.RecordBatch], shards: ShardTable
) -> Iterator[tuple[int, pa.Table]]:
    """Cut consecutive items into the shards that an index names.

    Yields:
        A shard's number and its items.

    Raises:
        ValueError: the items are in other shards, plan other numbers of rows, or are fewer.
    """
    rest: list[pa.RecordBatch] = []
    for number, num_items, num_rows in zip(
        shards.numbers.tolist(), shards.num_items.tolist(), shards.num_rows.tolist(), strict=True
    ):
        taken: list[pa.RecordBatch] = []
        missing = num_items
        while missing:
            batch = rest.pop() if rest else next(batches, None)
            if batch is None:
                raise ValueError(f"it ends within shard {number}")
            taken.append(batch.slice(0, missing))
            if batch.num_rows > missing:
                rest.append(batch.slice(missing))
            missing -= taken[-1].num_rows
        planned = sum(int(num_planned_rows(batch).sum()) for batch in taken)
        others = [
            batch for batch in taken if not np.all(batch.column("shard").to_numpy() == number)
        ]
        if others or planned != num_rows:
            raise ValueError(f"its shard {number} is not the one that the index describes")
        yield number, pa.Table.from_batches(taken, MANIFEST)


def _without(table: pa.Table, replaced: npt.NDArray[np.int64]) -> pa.Table:
    if not len(replaced):
        return table
    ids = table.column("item_id").to_numpy()
    start, end = np.searchsorted(replaced, [ids[0], ids[-1] + 1])
    if start == end:
        return table
    return table.filter(pa.array(~np.isin(ids, replaced[start:end])))
