"""The only reader of a run's rows: nothing gets past it that is damaged or in the wrong place."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fcos_core.errors import StorageError
from jobs.rundir.digest import rows_sha256
from jobs.rundir.directory import RunDirectory
from jobs.rundir.schemas import DETECTIONS, SCHEMA_VERSION, ShardFooter
from jobs.rundir.sealed_parquet import BrokenSealError, metadata_of, one_line, open_sealed
from jobs.storage import storage_for


class DamagedShardError(StorageError):
    """A shard's file is not what was committed under that name; the message says in what way."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardContents:
    """A shard's file, checked.

    Attributes:
        table: its rows.
        footer: what it says about itself, which is true.
    """

    table: pa.Table
    footer: ShardFooter


def read_shard(
    run: RunDirectory,
    shard: int,
    *,
    run_id: str | None = None,
    attempt: int | None = None,
    columns: Sequence[str] | None = None,
) -> ShardContents:
    """Read and check one shard's file.

    Args:
        run: where it lies.
        shard: its number.
        run_id: the run it must belong to; None to take any.
        attempt: which later attempt at quarantined items to read; None for the shard itself.
        columns: what to read; None for all. Only with all are the rows digested again.

    Raises:
        DamagedShardError: a bit is not as it was written, or it is another shard's or run's file.
    """
    uri = run.shard_uri(shard, attempt)
    data = storage_for(uri).read(uri)
    try:
        return _decode(data, shard, run_id, columns)
    except ValueError as error:
        raise DamagedShardError(f"{uri!r}: {error}") from error


def iterate_rows(
    run: RunDirectory,
    *,
    columns: Sequence[str] | None = None,
    shards: Collection[int] | None = None,
) -> Iterator[pa.Table]:
    """Read the rows of all committed shards in manifest order, one shard at a time.

    Whether all shards are there is for ``proof.prove`` to say.

    Args:
        run: where they lie.
        columns: what to read; None for all.
        shards: numbers of those to read, as far as they are there; None for all.

    Yields:
        A shard's rows; where retries succeeded, theirs.
    """
    for _, table in _iterate_shards(run, columns, shards):
        yield table


def _iterate_shards(
    run: RunDirectory, columns: Sequence[str] | None, shards: Collection[int] | None
) -> Iterator[tuple[int, pa.Table]]:
    run_id = run.read_manifest_metadata()["run_id"]
    listing = run.list_shards()
    wanted = None if shards is None else set(shards)
    for shard, _ in listing.shards:
        if wanted is not None and shard not in wanted:
            continue
        attempts = [attempt for attempt, _ in listing.retries.get(shard, ())]
        yield shard, read_rows(run, shard, attempts, run_id=run_id, columns=columns)


def read_rows(
    run: RunDirectory,
    shard: int,
    attempts: Sequence[int],
    *,
    run_id: str,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read one committed shard's rows; where retries succeeded, theirs.

    Args:
        run: where they lie.
        shard: its number.
        attempts: later ones at its quarantined items, oldest first, as they were listed.
        run_id: the run they must belong to.
        columns: what to read; None for all.
    """
    if not attempts:
        return read_shard(run, shard, run_id=run_id, columns=columns).table
    table = read_shard(run, shard, run_id=run_id).table
    for attempt in attempts:
        retried = read_shard(run, shard, run_id=run_id, attempt=attempt).table
        table = merge_retry(table, retried)
    return table if columns is None else table.select(list(columns))


def quarantined_items(
    run: RunDirectory, *, shards: Collection[int] | None = None
) -> dict[int, set[int]]:
    """Find the items that have a quarantined row after all retries so far.

    Args:
        run: where they lie.
        shards: numbers of those to read, as far as they are there; None for all.

    Returns:
        Their ids by shard, for the shards that have any.
    """
    found: dict[int, set[int]] = {}
    for shard, table in _iterate_shards(run, ["item_id", "status"], shards):
        bad = table.filter(pc.equal(table["status"], "quarantined"))
        if bad.num_rows:
            found[shard] = set(bad["item_id"].to_pylist())
    return found


def merge_retry(table: pa.Table, retried: pa.Table) -> pa.Table:
    """Put the rows of a later attempt in place of older ones, item by item.

    A retried item's rows are taken when any of them is ok, and then an ok row beats a quarantined
    one of the same frame; a retry that failed again changes nothing.

    Args:
        table: rows in manifest order.
        retried: rows of some of the same items.
    """
    succeeded = pc.unique(retried.filter(pc.equal(retried["status"], "ok"))["item_id"])
    taken = retried.filter(pc.is_in(retried["item_id"], succeeded))
    both = pa.concat_tables([taken, table])  # at equal rank the first row, the newer one, is kept
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
    data: bytes, shard: int, run_id: str | None, columns: Sequence[str] | None
) -> ShardContents:
    file = open_sealed(data)
    footer = ShardFooter.from_metadata(metadata_of(file))
    if footer.schema_version != SCHEMA_VERSION or not file.schema_arrow.equals(DETECTIONS):
        raise ValueError(
            f"it has tables of version {footer.schema_version}, this is {SCHEMA_VERSION}"
        )
    if run_id is not None and footer.run_id != run_id:
        raise ValueError(f"foreign: it is of run {footer.run_id}, this is run {run_id}")
    if footer.shard != shard:
        raise ValueError(f"swapped or renamed: it holds shard {footer.shard} of this run")
    try:
        table = file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise BrokenSealError(f"it cannot be read as Parquet: {one_line(error)}") from error
    if table.num_rows != footer.num_rows:
        raise ValueError(f"it has {table.num_rows} rows, its footer says {footer.num_rows}")
    if columns is None and rows_sha256(table) != footer.rows_sha256:
        raise ValueError("its rows are not those its footer was written for: the sha256 differs")
    return ShardContents(table=table, footer=footer)
