"""Whether the items of a manifest are possible, before anything is counted or listed by them.

A segment of a few bytes may announce billions of frames. The limit of a shard's rows bounds what
its readers hold.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.rundir.sampled_frames import EVERY_FRAME, count_frames
from jobs.rundir.schemas import MANIFEST, Kind
from jobs.rundir.untrusted.limits import MAX_SHARD_ROWS

Int64Array = npt.NDArray[np.int64]

_LEAST = {
    "shard": 0,
    "width": 1,
    "height": 1,
    "size_bytes": 0,
    "stream": 0,
    "time_base_num": 1,
    "time_base_den": 1,
    "first_frame": 0,
    "num_frames": 1,
}
_OF_SEGMENTS = ("first_frame", "num_frames")
_LAST_FRAME = 2**31 - 1
_LAST_ID = 2**63 - 1

# Members of an archive, in order, take one byte each in a manifest, and 160 bytes as a table.
_ITEMS_BESIDE_BYTES, _ITEMS_PER_BYTE = 1_000_000, 8
_SMALL_TABLE_BYTES, _LARGEST_RATIO = 2**30, 256


def possible_items(
    batches: Iterable[pa.RecordBatch], *, first_item_id: int = 0, first_shard: int = 0
) -> Iterator[pa.RecordBatch]:
    """Check the items of a manifest as they are read.

    Args:
        batches: consecutive rows of a ``MANIFEST`` table.
        first_item_id: of the first row.
        first_shard: no row has a lower shard.

    Yields:
        The same batches.

    Raises:
        ValueError: the first item that no planner can have written; it cannot be used.
    """
    num_items, shard, rows_of_shard = first_item_id, first_shard, 0
    for batch in batches:
        batch.validate(full=True)  # texts are UTF-8
        for name, least in _LEAST.items():
            _require_least(batch, name, least, num_items)
        _require_order(batch, num_items, shard)
        num_rows = _require_frames(batch, num_items)
        for number, added in _rows_by_shard(batch, num_rows):
            rows_of_shard = added + (rows_of_shard if number == shard else 0)
            shard = number
            if rows_of_shard > MAX_SHARD_ROWS:
                raise ValueError(
                    f"shard {shard}: {rows_of_shard} rows are planned, "
                    f"must be at most {MAX_SHARD_ROWS}"
                )
        yield batch
        num_items += batch.num_rows


def most_items(size_bytes: int) -> int:
    """Say how many items a manifest of so many bytes can have at most."""
    return _ITEMS_PER_BYTE * size_bytes + _ITEMS_BESIDE_BYTES


def table_of_items(batches: Iterable[pa.RecordBatch], size_bytes: int) -> pa.Table:
    """Collect the items of a manifest of so many bytes.

    Raises:
        ValueError: they take more memory than those of any planner do.
    """
    left = max(_SMALL_TABLE_BYTES, _LARGEST_RATIO * size_bytes)
    collected: list[pa.RecordBatch] = []
    for batch in batches:
        left -= batch.nbytes
        if left < 0:
            raise ValueError(f"its {size_bytes} bytes unpack to too much")
        collected.append(batch)
    return pa.Table.from_batches(collected, MANIFEST)


def num_planned_rows(batch: pa.RecordBatch) -> Int64Array:
    """Count the rows that each item plans: the frames of a segment, one for an image."""
    return _numbers(batch, "num_frames", 1)


def _rows_by_shard(batch: pa.RecordBatch, num_rows: Int64Array) -> Iterator[tuple[int, int]]:
    shards = _numbers(batch, "shard", 0)
    if not len(shards):
        return
    starts = np.flatnonzero(np.diff(shards, prepend=shards[0] - 1))
    for start, rows in zip(starts, np.add.reduceat(num_rows, starts), strict=True):
        yield int(shards[start]), int(rows)


def _require_least(batch: pa.RecordBatch, name: str, least: int, first_item: int) -> None:
    smallest = pc.min(batch.column(name)).as_py()
    if smallest is not None and smallest < least:
        row = pc.index(batch.column(name), smallest).as_py()
        raise ValueError(f"item {first_item + row}: {name} {smallest}, must be at least {least}")


def _require_order(batch: pa.RecordBatch, first_item: int, last_shard: int) -> None:
    ids = _numbers(batch, "item_id", 0)
    row = _first(ids != np.arange(first_item, first_item + len(ids)))
    if row is not None:
        raise ValueError(f"item {first_item + row}: item_id {ids[row]}")
    shards = _numbers(batch, "shard", 0)
    row = _first(np.diff(shards, prepend=last_shard) < 0)
    if row is not None:
        raise ValueError(f"item {first_item + row}: shard {shards[row]} behind a higher one")


def _require_frames(batch: pa.RecordBatch, first_item: int) -> Int64Array:
    """Check what segments say of their frames, and that images say nothing; count the rows.

    Raises:
        ValueError: the first item that is wrong.
    """
    kinds = batch.column("kind")
    row = _first(~_mask(pc.is_in(kinds, pa.array(get_args(Kind), pa.string()))))
    if row is not None:
        raise ValueError(f"item {first_item + row}: kind {kinds[row].as_py()!r}")
    is_segment = _mask(pc.equal(kinds, "video_segment"))
    for name in _OF_SEGMENTS:
        row = _first(_mask(pc.is_valid(batch.column(name))) != is_segment)
        if row is not None:
            raise ValueError(
                f"item {first_item + row}: {name} {batch.column(name)[row].as_py()} "
                f"of kind {kinds[row].as_py()}"
            )
    first, num_rows = _numbers(batch, "first_frame", 0), num_planned_rows(batch)
    ids = _numbers(batch, "image_id", 0)
    row = _first((first + num_rows - 1 > _LAST_FRAME) | (ids > _LAST_ID - (num_rows - 1)))
    if row is not None:
        raise ValueError(
            f"item {first_item + row}: {num_rows[row]} frames from frame {first[row]}, "
            f"image {ids[row]} on: the last number is too large"
        )
    samplings = batch.column("sampling")
    is_listed = pc.fill_null(pc.not_equal(samplings, EVERY_FRAME), fill_value=False)
    for row in np.flatnonzero(_mask(is_listed)).tolist():
        _require_sampling(
            samplings[row].as_py(), int(first[row]), int(num_rows[row]), first_item + row
        )
    return num_rows


def _require_sampling(text: str, first: int, num_rows: int, item: int) -> None:
    try:
        counted, last = count_frames(text, first)
    except ValueError as error:
        raise ValueError(f"item {item}: sampling: {error}") from error
    if counted != num_rows or last > _LAST_FRAME:
        raise ValueError(
            f"item {item}: sampling takes {counted} frames up to {last}, num_frames is {num_rows}"
        )


def _numbers(batch: pa.RecordBatch, name: str, unknown: int) -> Int64Array:
    column = pc.fill_null(batch.column(name), unknown)
    return column.to_numpy(zero_copy_only=False).astype(np.int64)


def _mask(array: Any) -> npt.NDArray[np.bool_]:  # noqa: ANN401 -- an untyped Arrow array
    return array.to_numpy(zero_copy_only=False).astype(np.bool_)


def _first(is_wrong: npt.NDArray[np.bool_]) -> int | None:
    return int(is_wrong.argmax()) if is_wrong.any() else None
