"""The only reader of a run's rows: it refuses damaged files and files in the wrong place."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fcos_core.errors import StorageError
from jobs.rundir.digest import RowsDigest, rows_sha256
from jobs.rundir.directory import RunDirectory, ShardListing
from jobs.rundir.schemas import DETECTIONS, SCHEMA_VERSION, ShardFooter
from jobs.rundir.sealed_parquet import metadata_of, open_sealed
from jobs.rundir.untrusted import earlier_rows
from jobs.rundir.untrusted.parquet_file import UntrustedFile
from jobs.rundir.untrusted.row_values import require_possible_rows
from jobs.storage import storage_for

_ROWS_BESIDE_PLAN = 1000


class DamagedShardError(StorageError):
    """A shard's file differs from the committed one; the message says how."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardContents:
    """The content of a shard's file, checked: the footer agrees with the rows."""

    table: pa.Table
    footer: ShardFooter


def read_shard(
    run: RunDirectory,
    shard: int,
    *,
    run_id: str | None = None,
    attempt: int | None = None,
    columns: Sequence[str] | None = None,
    num_planned: int | None = None,
) -> ShardContents:
    """Read and check one shard's file.

    Args:
        run: the run's directory.
        shard: the shard's number.
        run_id: the run that the file must belong to; None accepts any run.
        attempt: the number of the retry to read; None for the shard's first file.
        columns: the columns to read; None for all. Only with all columns is the sha256 of the rows
            compared.
        num_planned: rows that the manifest plans for the shard; None when unknown. A file with a
            few more is read, so that its surplus can be told; one with many more is not.

    Raises:
        DamagedShardError: a bit has changed, the file is of another shard or run, its values are
            impossible, or it announces too many rows or too much memory.
    """
    uri = run.shard_uri(shard, attempt)
    storage = storage_for(uri)
    max_rows = None if num_planned is None else 2 * num_planned + _ROWS_BESIDE_PLAN
    try:
        file = open_sealed(storage.read(uri), max_rows=max_rows)
        return _decode(file, shard, run_id, columns)
    except (ValueError, pa.ArrowException) as error:
        raise DamagedShardError(f"{uri!r}: {error}") from error


def iterate_rows(
    run: RunDirectory,
    *,
    columns: Sequence[str] | None = None,
    shards: Collection[int] | None = None,
    listing: ShardListing | None = None,
) -> Iterator[pa.Table]:
    """Read the rows of all committed shards in manifest order, one shard at a time.

    ``proof.prove`` says whether all shards are committed.

    Args:
        run: the run's directory.
        columns: the columns to read; None for all.
        shards: numbers of the shards to read, where committed; None for all.
        listing: of these shards, where the caller has it: who reads a large run block by block
            lists it once.

    Yields:
        The rows of a shard; rows of successful retries replace older ones, and rows of items whose
        place newer items have taken are left out.
    """
    for _, table in _iterate_shards(run, columns, shards, listing):
        yield table


def _iterate_shards(
    run: RunDirectory,
    columns: Sequence[str] | None,
    shards: Collection[int] | None,
    listing: ShardListing | None = None,
) -> Iterator[tuple[int, pa.Table]]:
    manifest = run.manifest()
    listing = run.list_shards() if listing is None else listing
    wanted = shards if shards is None or isinstance(shards, range) else set(shards)
    for shard in listing.shards.tolist():
        place = manifest.shards.place(shard)
        if place is None or (wanted is not None and shard not in wanted):
            continue
        table = read_rows(
            run,
            shard,
            [attempt for attempt, _ in listing.retries.get(shard, ())],
            run_id=manifest.run_id,
            columns=columns,
            num_planned=int(manifest.shards.num_rows[place]),
            replaced=manifest.replaced,
        )
        yield shard, table


def read_rows(
    run: RunDirectory,
    shard: int,
    attempts: Sequence[int],
    *,
    run_id: str,
    num_planned: int,
    columns: Sequence[str] | None = None,
    replaced: npt.NDArray[np.int64] | None = None,
) -> pa.Table:
    """Read the rows of one committed shard; rows of successful retries replace older ones.

    Args:
        run: the run's directory.
        shard: the shard's number.
        attempts: the shard's retries as listed, oldest first.
        run_id: the run that the files must belong to.
        num_planned: rows that the manifest plans for the shard.
        columns: the columns to read; None for all.
        replaced: items to leave out, as ``Manifest.replaced``; None leaves out none.
    """
    read = partial(read_shard, run, shard, run_id=run_id, num_planned=num_planned)
    replaced = np.zeros(0, np.int64) if replaced is None else replaced
    if not attempts and not len(replaced):
        return read(columns=columns).table
    table = read().table
    for attempt in attempts:
        table = merge_retry(table, read(attempt=attempt).table)
    if len(replaced):
        table = table.filter(pa.array(~np.isin(table.column("item_id").to_numpy(), replaced)))
    return table if columns is None else table.select(list(columns))


def rows_digest(run: RunDirectory) -> str:
    """Digest all rows of a complete run in manifest order, however they are cut into shards.

    Two runs over the same items can be compared by it although their shards differ; it reads the
    rows once more, one shard after another. Rows of items that newer ones replace are among them.
    """
    manifest, listing = run.manifest(), run.list_shards()
    digest = RowsDigest()
    for number, num_rows in zip(
        manifest.shards.numbers.tolist(), manifest.shards.num_rows.tolist(), strict=True
    ):
        attempts = [attempt for attempt, _ in listing.retries.get(number, ())]
        digest.update(
            read_rows(run, number, attempts, run_id=manifest.run_id, num_planned=num_rows)
        )
    return digest.hexdigest()


def recovered_items(
    run: RunDirectory, shard: int, attempts: Sequence[int], *, run_id: str, num_planned: int
) -> frozenset[int]:
    """Find the items of one shard with rows that come from a retry.

    Their files may be other versions than those in the manifest; no table has the retried version.
    """
    found: set[int] = set()
    for attempt in attempts:
        table = read_shard(
            run,
            shard,
            run_id=run_id,
            attempt=attempt,
            columns=["item_id", "status"],
            num_planned=num_planned,
        ).table
        found.update(table.filter(pc.equal(table["status"], "ok"))["item_id"].to_pylist())
    return frozenset(found)


def quarantined_items(
    run: RunDirectory, *, shards: Collection[int] | None = None
) -> dict[int, set[int]]:
    """Find the items that have a quarantined row after all retries so far, by shard.

    ``shards`` are the shards to read, where committed; None for all.
    """
    found: dict[int, set[int]] = {}
    for shard, table in _iterate_shards(run, ["item_id", "status"], shards):
        bad = table.filter(pc.equal(table["status"], "quarantined"))
        if bad.num_rows:
            found[shard] = set(bad["item_id"].to_pylist())
    return found


def merge_retry(table: pa.Table, retried: pa.Table) -> pa.Table:
    """Replace rows, in manifest order, by those of a retry, item by item.

    The rows of a retried item are taken when any of them is ok; then an ok row replaces a
    quarantined row of the same frame. A retry that failed again changes nothing.
    """
    succeeded = pc.unique(retried.filter(pc.equal(retried["status"], "ok"))["item_id"])
    taken = retried.filter(pc.is_in(retried["item_id"], succeeded))
    both = pa.concat_tables([taken, table])  # of rows of equal rank the first, newer one is kept
    rank = pc.not_equal(both["status"], "ok").cast(pa.int8())
    frame = pc.fill_null(both["frame_index"], -1)
    keys = pa.table({"item_id": both["item_id"], "frame": frame, "rank": rank})
    order = pc.sort_indices(
        keys, sort_keys=[("item_id", "ascending"), ("frame", "ascending"), ("rank", "ascending")]
    )
    keys = keys.take(order).select(["item_id", "frame"])
    names = list(zip(*(column.to_pylist() for column in keys.columns), strict=True))
    first = [i == 0 or names[i] != names[i - 1] for i in range(len(names))]
    return both.take(order.filter(pa.array(first, pa.bool_())))


def _decode(
    file: UntrustedFile, shard: int, run_id: str | None, columns: Sequence[str] | None
) -> ShardContents:
    footer = ShardFooter.from_metadata(metadata_of(file))
    is_earlier = footer.schema_version == earlier_rows.VERSION
    if footer.schema_version != SCHEMA_VERSION and not is_earlier:
        raise ValueError(
            f"it has tables of version {footer.schema_version}, this is {SCHEMA_VERSION}"
        )
    if not file.schema.equals(earlier_rows.SCHEMA if is_earlier else DETECTIONS):
        raise ValueError("its columns are not those of a shard")
    if run_id is not None and footer.run_id != run_id:
        raise ValueError(f"foreign: it is of run {footer.run_id}, this is run {run_id}")
    if footer.shard != shard:
        raise ValueError(f"swapped or renamed: it holds shard {footer.shard} of this run")
    names = columns
    if is_earlier and columns is not None:
        names = [name for name in columns if name != "note"]
    table = file.read(names)
    if table.num_rows != footer.num_rows:
        raise ValueError(f"it has {table.num_rows} rows, its footer says {footer.num_rows}")
    require_possible_rows(table)
    if is_earlier:
        table = earlier_rows.completed(table)
    if columns is None and rows_sha256(table) != footer.rows_sha256:
        raise ValueError("its rows are not those its footer was written for: the sha256 differs")
    return ShardContents(table=table, footer=footer)
