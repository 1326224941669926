"""The proof that a run is complete: every manifest item has all its rows, once, undamaged."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fcos_core.errors import ConfigError, StorageError
from jobs.parallel.map_blocks import map_blocks, num_workers_for
from jobs.rundir.audit import FrameCounts, ShardAudit, audit_shard
from jobs.rundir.digest import TreeDigest, rows_sha256
from jobs.rundir.directory import RunDirectory, ShardListing
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.record import RunRecord
from jobs.rundir.schemas import DigestClass
from jobs.rundir.shard_reading import (
    DamagedShardError,
    ShardContents,
    merge_retry,
    read_shard,
    rows_digest,
)
from jobs.rundir.untrusted.item_values import num_planned_rows

MAX_PROBLEMS = 10_000
"""Problems that a proof names."""

_REMEDY = "delete it and give the command that began the run again"
_BLOCK_ROWS = 65_536
_RAY_FROM_ROWS = 1_000_000  # about ten seconds of one core


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The rows of a run, counted against those that its manifest plans.

    Rows are images and frames. ``planned == ok + quarantined + missing``: frames that were lost
    together share one row in the tables, and each of them counts here.

    Attributes:
        planned: rows that the manifest plans.
        ok: rows with detections; the list of detections may be empty.
        quarantined: rows of images and frames that could not be used.
        missing: rows that no undamaged shard of this run holds.
        duplicated: surplus copies of rows.
        items_planned: images and video segments that the manifest plans.
        items_ok: items whose rows are all ok.
        items_quarantined: items that have all rows, some of them quarantined.
        items_missing: items that lack a row.
        digest: of all shards' rows (``TreeDigest``); None unless the run is complete and all of it
            was looked at.
        digest_class: ``tolerance`` when the footer of any shard says so, otherwise ``exact``.
        problems: one line for each of the first problems, with the path.
        num_problems: number of all problems.
        leftovers: number of hidden files among the shards; killed writers leave them, and they are
            no problem.
        videos: the counts of each video's frames, by the video's uri.
        first_quarantined: uri of the first quarantined row, and why; None where there is none.
    """

    planned: int
    ok: int
    quarantined: int
    missing: int
    duplicated: int
    items_planned: int
    items_ok: int
    items_quarantined: int
    items_missing: int
    digest: str | None
    digest_class: DigestClass
    problems: list[str]
    leftovers: int
    videos: Mapping[str, FrameCounts]
    num_problems: int = 0
    first_quarantined: str | None = None

    @property
    def frames(self) -> FrameCounts:
        """The counts of the frames of all videos together."""
        whole = FrameCounts()
        for counts in self.videos.values():
            whole.add(counts)
        return whole

    @property
    def complete(self) -> bool:
        """Whether every item has all its rows, once, and no other file lies among the shards."""
        return not (self.missing or self.duplicated or self.problems)

    @property
    def incompleteness(self) -> str | None:
        """Why the run is not complete, in one line; None when it is complete."""
        if self.complete:
            return None
        numbers = f"{self.missing} of {self.planned} rows are missing, {self.duplicated} double"
        if not self.problems:
            return numbers
        if not self.missing and not self.duplicated:
            numbers = f"all {self.planned} rows are there, but the run is not proved"
        num_more = self.num_problems - 1
        more = f" (and {_counted(num_more, 'more problem')})" if num_more else ""
        return f"{numbers}: {self.problems[0]}{more}"

    def summary(self) -> dict[str, Any]:
        """The counts and the digest, by the names that scripts rely on."""
        return {
            "planned": self.planned,
            "ok": self.ok,
            "quarantined": self.quarantined,
            "missing": self.missing,
            "duplicated": self.duplicated,
            "items_planned": self.items_planned,
            "items_ok": self.items_ok,
            "items_quarantined": self.items_quarantined,
            "items_missing": self.items_missing,
            "digest": self.digest,
            "digest_class": self.digest_class,
        }


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Neighbouring shards of a run, proved by one process.

    Attributes:
        run: the run's directory.
        proof_id: different for each proof; its blocks in one process share a manifest.
        start: the first shard's place in the manifest's table.
        end: the place behind the last one.
        committed: numbers of those that have a file.
        retries: of those that have any, as ``ShardListing`` has them.
        categories: the ids that run.json has; None where it cannot be read.
    """

    run: RunDirectory
    proof_id: str
    start: int
    end: int
    committed: npt.NDArray[np.int64]
    retries: Mapping[int, Sequence[tuple[int, str]]]
    categories: frozenset[int] | None


@dataclass(kw_only=True)
class _Tally:
    """The counts over shards that were checked, and the digest of each one's rows, in order."""

    counts: ShardAudit = field(default_factory=ShardAudit)
    digests: list[str] = field(default_factory=list[str])
    digest_class: DigestClass = "exact"
    problems: list[str] = field(default_factory=list[str])
    num_problems: int = 0

    def note(self, problems: Iterable[str]) -> None:
        """Count problems, and keep the first ones: a run may lack millions of shards."""
        for problem in problems:
            self.num_problems += 1
            if len(self.problems) < MAX_PROBLEMS:
                self.problems.append(problem)

    def add(self, other: _Tally) -> None:
        self.counts.add(other.counts)
        self.digests += other.digests
        if other.digest_class != "exact":
            self.digest_class = other.digest_class
        room = MAX_PROBLEMS - len(self.problems)
        self.problems += other.problems[:room]
        self.num_problems += other.num_problems


def prove(
    run: RunDirectory,
    *,
    numbers: range | None = None,
    num_workers: int | Literal["auto"] = 1,
    address: str | None = None,
) -> Proof:
    """Check every shard of a run against its manifest, block by block.

    Args:
        run: the run's directory; without a readable manifest a ``ConfigError`` is raised.
        numbers: the shards to check; None for all. Without all of them there is no digest.
        num_workers: processes that check blocks of shards at once; ``auto`` takes every core where
            the run is large.
        address: of a Ray cluster whose processes these are; None takes this machine.

    Returns:
        The counts and the problems; the digest when there is no problem.
    """
    manifest = run.manifest()
    listing = run.list_shards()
    record, problems = _read_record(run)
    categories = None if record is None else frozenset(c.id for c in record.categories)
    tally, digest = _Tally(), TreeDigest()
    tally.note([*problems, *_problems_of_superseded(manifest)])
    workers = num_workers_for(num_workers, manifest.shards.total_rows, worth_ray=_RAY_FROM_ROWS)
    places = _chosen(manifest.shards, numbers)
    blocks = _blocks(run, manifest, listing, categories, places)
    for found in map_blocks(_prove_block, blocks, num_workers=workers, address=address):
        for of_shard in found.digests:
            digest.update(of_shard)
        found.digests.clear()
        tally.add(found)
    tally.note(_problems_of_listing(run, listing, manifest.shards))
    counts = tally.counts
    proof = Proof(
        planned=counts.num_planned,
        ok=counts.num_ok,
        quarantined=counts.num_quarantined,
        missing=counts.num_missing,
        duplicated=counts.num_duplicated,
        items_planned=counts.num_items,
        items_ok=counts.num_items_ok,
        items_quarantined=counts.num_items_quarantined,
        items_missing=counts.num_items_missing,
        digest=None,
        digest_class=tally.digest_class,
        problems=tally.problems,
        num_problems=tally.num_problems,
        leftovers=len(listing.leftovers),
        videos=counts.videos,
        first_quarantined=counts.first_quarantined,
    )
    if not proof.complete or len(places) < len(manifest.shards):
        return proof
    # Runs of an earlier version keep the digest that they had.
    is_earlier = manifest.earlier_part is not None
    return replace(proof, digest=rows_digest(run) if is_earlier else digest.hexdigest())


def _chosen(shards: ShardTable, numbers: range | None) -> range:
    """Find the places of the shards with some numbers; they follow each other."""
    if numbers is None:
        return range(len(shards))
    first, end = np.searchsorted(shards.numbers, [numbers.start, numbers.stop])
    return range(int(first), int(end))


def _blocks(
    run: RunDirectory,
    manifest: Manifest,
    listing: ShardListing,
    categories: frozenset[int] | None,
    places: range,
) -> Iterator[_Block]:
    """Cut a run into blocks of one part of its manifest each, and of a bounded number of rows.

    Yields:
        Neighbouring shards, in order.
    """
    shards = manifest.shards.select(slice(places.start, places.stop))
    proof_id = uuid.uuid4().hex
    block_of_rows = np.cumsum(shards.num_rows, dtype=np.int64) // _BLOCK_ROWS
    breaks = np.flatnonzero(np.diff(block_of_rows) | np.diff(shards.parts)) + 1
    for start, end in pairwise([0, *breaks.tolist(), len(shards)]):
        numbers = shards.numbers[start:end]
        if not len(numbers):
            continue
        first, last = np.searchsorted(listing.shards, [numbers[0], numbers[-1] + 1])
        yield _Block(
            run=run,
            proof_id=proof_id,
            start=places.start + start,
            end=places.start + end,
            committed=listing.shards[first:last],
            retries={n: listing.retries[n] for n in numbers.tolist() if n in listing.retries},
            categories=categories,
        )


def _prove_block(block: _Block) -> _Tally:
    manifest = _manifest(block.run, block.proof_id)
    tally = _Tally()
    committed = set(block.committed.tolist())
    for shard, items in manifest.iterate_tables(np.arange(block.start, block.end)):
        if shard in committed:
            _check_shard(block, shard, items, manifest.run_id, tally)
            continue
        nothing = audit_shard(items, None)
        tally.counts.add(nothing)
        first, last = (items.column("item_id")[place].as_py() for place in (0, -1))
        span = f"item {first}" if first == last else f"items {first} to {last}"
        rows = f"{_counted(nothing.num_planned, 'row')} of {span}"
        tally.note([f"{block.run.shard_uri(shard)!r}: missing, with {rows}"])
    return tally


@lru_cache(maxsize=1)
def _manifest(run: RunDirectory, proof_id: str) -> Manifest:
    """The manifest, kept from block to block: a process proves neighbouring blocks."""
    del proof_id  # the files may have changed since an earlier proof
    return run.manifest()


def _check_shard(block: _Block, shard: int, items: pa.Table, run_id: str, tally: _Tally) -> None:
    run = block.run
    num_planned = int(num_planned_rows(items).sum())
    read = partial(read_shard, run, shard, run_id=run_id, num_planned=num_planned)
    try:
        contents = read()
    except StorageError as error:
        tally.note([_with_remedy(error, _REMEDY)])
        tally.counts.add(audit_shard(items, None))
        return
    _note_digest_class(contents, tally)
    table, digest = contents.table, contents.footer.rows_sha256
    audit = audit_shard(items, table, block.categories)
    tally.note(f"{run.shard_uri(shard)!r}: {problem}" for problem in audit.problems)
    for attempt, uri in block.retries.get(shard, ()):
        try:
            retried = read(attempt=attempt)
        except StorageError as error:
            tally.note([_with_remedy(error, f"{_REMEDY}, with --retry-quarantined")])
            continue
        if "ok" in retried.table.column("status").to_pylist():
            _note_digest_class(retried, tally)
        table = merge_retry(table, retried.table)
        digest = rows_sha256(table)
        audit = audit_shard(items, table, block.categories)
        tally.note(f"{uri!r}: {problem}" for problem in audit.problems)
    tally.counts.add(audit)
    tally.digests.append(digest)


def _note_digest_class(contents: ShardContents, tally: _Tally) -> None:
    if contents.footer.digest_class != "exact":
        tally.digest_class = contents.footer.digest_class


def _read_record(run: RunDirectory) -> tuple[RunRecord | None, list[str]]:
    """Read ``run.json``, or say why it cannot be used."""
    try:
        return run.read_run_record(), []
    except ConfigError as error:
        return None, [str(error)]


def _problems_of_superseded(manifest: Manifest) -> Iterator[str]:
    """Read what extensions have replaced: without it no other job reads the run.

    Yields:
        At most one problem.
    """
    try:
        _ = manifest.superseded
    except (ConfigError, StorageError) as error:
        yield str(error)


def _problems_of_listing(
    run: RunDirectory, listing: ShardListing, shards: ShardTable
) -> Iterator[str]:
    for uri in listing.foreign:
        yield f"{uri!r}: foreign: no file of a run has such a name"
    found = np.concatenate([listing.shards, np.array(list(listing.retries), np.int64)])
    if not np.isin(found, shards.numbers).all():
        shards = run.manifest().shards  # another driver may have extended the run meanwhile
    unplanned = np.setdiff1d(listing.shards, shards.numbers).tolist()
    named = [(number, run.shard_uri(number)) for number in unplanned]
    named += [
        (number, uri)
        for number, uris in listing.retries.items()
        if shards.place(number) is None
        for _, uri in uris
    ]
    limit = f"the manifest has {_counted(len(shards), 'shard')}"
    for number, uri in named:
        yield f"{uri!r}: foreign: {limit}, none with number {number}"


def _with_remedy(error: StorageError, remedy: str) -> str:
    return f"{error}; {remedy}" if isinstance(error, DamagedShardError) else str(error)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
