"""From ordered items to the manifest: shards, parts and numbers."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.inputs.sources import Listing
from jobs.inputs.spool import BATCH_ROWS
from jobs.planning.ordered_items import UNNUMBERED, OrderedItems, Videos, rows_of
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.rows import ManifestItem, table_to_items
from jobs.rundir.schemas import MANIFEST

ITEMS_PER_PART = 1_000_000
"""A part of a manifest ends with the first shard that reaches so many items."""

_UNKNOWN = -1
_SIDE_BITS = 32

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """The first numbers that are free: those of a new run, or of what an extension adds.

    ``next_image_id`` counts images and frames.
    """

    first_item_id: int = 0
    first_shard: int = 0
    first_part: int = 0
    next_image_id: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class SizeGroups:
    """Neighbours of one size in one shard, counted; all arrays have the same length.

    Attributes:
        shards: of each group; never falls.
        heights: pixels.
        widths: pixels.
        num_rows: images and frames of each group.
    """

    shards: Int64Array
    heights: Int32Array
    widths: Int32Array
    num_rows: Int64Array


class PlannedItems:
    """A manifest that is decided and not written yet.

    Args:
        items: the images and segments in order; ``close`` closes them too.
        shard_size: rows per shard, images and frames together. The last shard may have fewer, and
            a segment of more frames is a shard of its own.
        has_image_ids: whether the image ids of the items count, and not those that number rows.
        numbering: the first numbers.
        items_per_part: a part ends with the first shard that reaches so many items.

    Attributes:
        shards: where each shard's items lie; 24 bytes per shard.
        num_items: of all shards.
        num_rows: images and frames of all shards.
        next_numbering: the first numbers that are free afterwards.
        sizes: number of items by size, ``640x480`` or ``unknown``, in the manifest's order.
        size_groups: for the choice of the batch size; None where a size is unknown.
    """

    def __init__(
        self,
        items: OrderedItems,
        shard_size: int,
        *,
        has_image_ids: bool = False,
        numbering: Numbering | None = None,
        items_per_part: int = ITEMS_PER_PART,
    ) -> None:
        assert shard_size > 0
        self._items = items
        self._has_image_ids = has_image_ids
        self._numbering = numbering or Numbering()
        cutter = _ShardCutter(shard_size)
        sizes = _SizeCounts()
        for batch in items.batches():
            rows = rows_of(batch)
            shards = cutter.cut(rows) + self._numbering.first_shard
            sizes.count(batch, shards, rows)
        self.num_items, self.num_rows = cutter.num_items, cutter.num_rows
        self.sizes, self.size_groups = sizes.by_name(), sizes.groups()
        self.shards = cutter.table(self._numbering, items_per_part)

    @property
    def next_numbering(self) -> Numbering:
        first = self._numbering
        num_parts = int(self.shards.parts[-1]) + 1 - first.first_part if len(self.shards) else 0
        return Numbering(
            first_item_id=first.first_item_id + self.num_items,
            first_shard=first.first_shard + len(self.shards),
            first_part=first.first_part + num_parts,
            next_image_id=first.next_image_id + self.num_rows,
        )

    def tables(self) -> Iterator[pa.Table]:
        """Make the tables of the parts, one after the other; may be called again.

        A part takes about 100 MiB while it is made, beside the one that the caller still holds.

        Yields:
            A ``MANIFEST`` table per part, in order.
        """
        reader = _Reader(self._items.batches())
        next_image_id = self._numbering.next_image_id
        for part in np.unique(self.shards.parts):
            shards = self.shards.select(self.shards.parts == part)
            item_id = int(shards.first_items[0])
            numbers = np.repeat(shards.numbers, shards.num_items)
            batches: list[pa.RecordBatch] = []
            for batch in reader.take(shards.total_items):
                start = item_id - int(shards.first_items[0])
                ends = next_image_id + np.cumsum(rows_of(batch))
                columns = _with_shared_nulls(batch)
                columns["item_id"] = pa.array(np.arange(item_id, item_id + batch.num_rows))
                columns["shard"] = pa.array(numbers[start : start + batch.num_rows])
                if not self._has_image_ids:
                    columns["image_id"] = pa.array(ends - rows_of(batch))
                batches.append(
                    pa.RecordBatch.from_arrays(
                        [columns[name] for name in MANIFEST.names], schema=MANIFEST
                    )
                )
                item_id, next_image_id = item_id + batch.num_rows, int(ends[-1])
            yield pa.Table.from_batches(batches, MANIFEST)

    def close(self) -> None:
        """Forget the items and remove their files."""
        self._items.close()

    def __enter__(self) -> PlannedItems:
        """Leave the items there until the ``with`` block ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close this."""
        self.close()


def make_manifest(
    listing: Listing, shard_size: int, videos: Videos | None = None
) -> list[ManifestItem]:
    """Make the manifest of a few items as objects.

    Args:
        listing: the items that the inputs stand for.
        shard_size: as of ``PlannedItems``.
        videos: the index of each video in the listing.
    """
    ordered = OrderedItems(listing.items, lambda _: videos or {})
    has_image_ids = listing.annotations is not None
    with PlannedItems(ordered, shard_size, has_image_ids=has_image_ids) as planned:
        return [item for table in planned.tables() for item in table_to_items(table)]


class _ShardCutter:
    """Cuts items into shards: an item that would make its shard too large begins the next one."""

    def __init__(self, shard_size: int) -> None:
        self.num_items = 0
        self.num_rows = 0
        self._shard_size = shard_size
        self._last_shard = -1
        self._rows_in_shard = shard_size  # the first item begins a shard
        self._first_items: list[Int64Array] = []
        self._first_rows: list[Int64Array] = []

    def cut(self, rows: Int64Array) -> Int64Array:
        """Give the shard of each item, from 0; ``rows`` are the images and frames of each."""
        ends = np.cumsum(rows)
        starts: list[int] = []
        before, used = 0, self._rows_in_shard
        while True:
            # The rows before ``start`` fit into the shard, the next item does not.
            start = int(np.searchsorted(ends, before + self._shard_size - used, side="right"))
            if starts:
                start = max(start, starts[-1] + 1)  # a shard has an item, however large it is
            if start >= len(rows):
                break
            starts.append(start)
            before, used = int(ends[start] - rows[start]), 0
        firsts = np.array(starts, np.int64)
        self._first_items.append(firsts + self.num_items)
        self._first_rows.append(ends[firsts] - rows[firsts] + self.num_rows)
        shards = np.zeros(len(rows), np.int64)
        shards[firsts] = 1
        shards = self._last_shard + np.cumsum(shards)
        self._last_shard = int(shards[-1])
        self._rows_in_shard = used + int(ends[-1]) - before
        self.num_items += len(rows)
        self.num_rows += int(ends[-1])
        return shards

    def table(self, numbering: Numbering, items_per_part: int) -> ShardTable:
        none = np.zeros(0, np.int64)
        first_items = np.concatenate([none, *self._first_items])
        first_rows = np.concatenate([none, *self._first_rows])
        num_shards = len(first_items)
        bounds = [0]
        while bounds[-1] < num_shards:
            # The shards of a part begin before the item that makes it full.
            full = first_items[bounds[-1]] + items_per_part
            bounds.append(int(np.searchsorted(first_items, full)))
        parts = np.repeat(np.arange(len(bounds) - 1, dtype=np.int32), np.diff(bounds))
        return ShardTable(
            numbers=np.arange(num_shards, dtype=np.int32) + np.int32(numbering.first_shard),
            parts=parts + np.int32(numbering.first_part),
            first_items=first_items + numbering.first_item_id,
            num_items=np.diff(first_items, append=self.num_items).astype(np.int32),
            num_rows=np.diff(first_rows, append=self.num_rows).astype(np.int32),
        )


class _SizeCounts:
    """Counts items by size, and images and frames by shard and size."""

    def __init__(self) -> None:
        self._items = Counter[int]()
        self._groups: list[tuple[Int64Array, Int64Array, Int64Array]] | None = []

    def count(self, batch: pa.RecordBatch, shards: Int64Array, rows: Int64Array) -> None:
        heights, widths = (
            batch.column(name).fill_null(_UNKNOWN).to_numpy().astype(np.int64)
            for name in ("height", "width")
        )
        is_known = (heights != _UNKNOWN) & (widths != _UNKNOWN)
        sizes = np.where(is_known, (heights << _SIDE_BITS) | widths, _UNKNOWN)
        unique, places, counts = np.unique(sizes, return_index=True, return_counts=True)
        for place in np.argsort(places):  # in the order of the items
            self._items[int(unique[place])] += int(counts[place])
        if unique[0] == _UNKNOWN:
            self._groups = None
        if self._groups is not None:
            is_first = np.diff(sizes, prepend=_UNKNOWN) != 0
            is_first |= np.diff(shards, prepend=_UNKNOWN) != 0
            firsts = np.flatnonzero(is_first)
            self._groups.append((shards[firsts], sizes[firsts], np.add.reduceat(rows, firsts)))

    def by_name(self) -> Counter[str]:
        """Count items by size as text."""
        return Counter(
            {
                "unknown" if size == _UNKNOWN else f"{_width(size)}x{size >> _SIDE_BITS}": count
                for size, count in self._items.items()
            }
        )

    def groups(self) -> SizeGroups | None:
        if self._groups is None:
            return None
        none = np.zeros(0, np.int64)
        columns = zip((none, none, none), *self._groups, strict=True)
        shards, sizes, num_rows = (np.concatenate(arrays) for arrays in columns)
        return SizeGroups(
            shards=shards,
            heights=(sizes >> _SIDE_BITS).astype(np.int32),
            widths=(sizes & (2**_SIDE_BITS - 1)).astype(np.int32),
            num_rows=num_rows,
        )


def _width(size: int) -> int:
    return size & (2**_SIDE_BITS - 1)


@cache
def _nulls(kind: pa.DataType) -> pa.Array:
    return pa.nulls(BATCH_ROWS, kind)


def _with_shared_nulls(batch: pa.RecordBatch) -> dict[str, Any]:
    """Give the columns by name; those without values share their memory with other batches."""
    return {
        name: _nulls(column.type).slice(0, len(column))
        if column.null_count == len(column) <= BATCH_ROWS
        else column
        for name, column in zip(UNNUMBERED.names, batch.columns, strict=True)
    }


class _Reader:
    """Reads a stream of batches in lengths that do not follow the batches."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._held: pa.RecordBatch | None = None

    def take(self, num_rows: int) -> Iterator[pa.RecordBatch]:
        """Read the next rows.

        Yields:
            Batches of ``num_rows`` rows together.
        """
        while num_rows:
            batch = self._held if self._held is not None else next(self._batches)
            self._held = batch.slice(num_rows) if batch.num_rows > num_rows else None
            taken = batch.slice(0, num_rows)
            num_rows -= taken.num_rows
            yield taken
