"""The proof that a run is complete: every manifest item has all its rows, once, undamaged."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fcos_core.errors import ConfigError, StorageError
from jobs.rundir.audit import FrameCounts, ShardAudit, audit_shard
from jobs.rundir.digest import RunDigest
from jobs.rundir.directory import RunDirectory, RunRecord, ShardListing
from jobs.rundir.rows import ManifestItem
from jobs.rundir.schemas import DigestClass
from jobs.rundir.shard_reading import DamagedShardError, ShardContents, merge_retry, read_shard

_REMEDY = "delete it and give the command that began the run again"


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
        digest: sha256 of all rows in manifest order; None unless the run is complete.
        digest_class: ``tolerance`` when the footer of any shard says so, otherwise ``exact``.
        problems: one line for each problem, with the path.
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
        num_more = len(self.problems) - 1
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


@dataclass
class _Tally:
    """The counts over the shards that were checked so far, and the ids of known categories."""

    categories: Collection[int] | None = None
    counts: ShardAudit = field(default_factory=ShardAudit)
    digest: RunDigest = field(default_factory=RunDigest)
    digest_class: DigestClass = "exact"
    problems: list[str] = field(default_factory=list[str])


def prove(run: RunDirectory) -> Proof:
    """Check every shard of a run, one at a time, against its manifest.

    Args:
        run: the run's directory; without a readable manifest a ``ConfigError`` is raised.

    Returns:
        The counts and every problem; the digest when there is no problem.
    """
    run_id = run.read_manifest_metadata()["run_id"]
    listing = run.list_shards()
    committed = {number for number, _ in listing.shards}
    record, problems = _read_record(run)
    categories = None if record is None else {category.id for category in record.categories}
    tally = _Tally(categories=categories, problems=problems)
    planned: set[int] = set()
    for shard, items in run.iterate_manifest():
        planned.add(shard)
        if shard in committed:
            _check_shard(run, shard, items, run_id, listing, tally)
        else:
            nothing = audit_shard(items, None)
            tally.counts.add(nothing)
            first, last = items[0].item_id, items[-1].item_id
            span = f"item {first}" if first == last else f"items {first} to {last}"
            rows = f"{_counted(nothing.num_planned, 'row')} of {span}"
            tally.problems.append(f"{run.shard_uri(shard)!r}: missing, with {rows}")
    tally.problems.extend(_problems_of_listing(listing, planned))
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
        leftovers=len(listing.leftovers),
        videos=counts.videos,
        first_quarantined=counts.first_quarantined,
    )
    return replace(proof, digest=tally.digest.hexdigest()) if proof.complete else proof


def _check_shard(
    run: RunDirectory,
    shard: int,
    items: Sequence[ManifestItem],
    run_id: str,
    listing: ShardListing,
    tally: _Tally,
) -> None:
    read = partial(
        read_shard,
        run,
        shard,
        run_id=run_id,
        num_planned=sum(item.num_frames or 1 for item in items),
    )
    try:
        contents = read()
    except StorageError as error:
        tally.problems.append(_with_remedy(error, _REMEDY))
        tally.counts.add(audit_shard(items, None))
        return
    _note_digest_class(contents, tally)
    table = contents.table
    audit = audit_shard(items, table, tally.categories)
    tally.problems.extend(f"{run.shard_uri(shard)!r}: {problem}" for problem in audit.problems)
    for attempt, uri in listing.retries.get(shard, ()):
        try:
            retried = read(attempt=attempt)
        except StorageError as error:
            tally.problems.append(_with_remedy(error, f"{_REMEDY}, with --retry-quarantined"))
            continue
        if "ok" in retried.table.column("status").to_pylist():
            _note_digest_class(retried, tally)
        table = merge_retry(table, retried.table)
        audit = audit_shard(items, table, tally.categories)
        tally.problems.extend(f"{uri!r}: {problem}" for problem in audit.problems)
    tally.counts.add(audit)
    if not tally.problems:
        tally.digest.update(table)


def _note_digest_class(contents: ShardContents, tally: _Tally) -> None:
    if contents.footer.digest_class != "exact":
        tally.digest_class = contents.footer.digest_class


def _read_record(run: RunDirectory) -> tuple[RunRecord | None, list[str]]:
    """Read ``run.json``, or say why it cannot be used."""
    try:
        return run.read_run_record(), []
    except ConfigError as error:
        return None, [str(error)]


def _problems_of_listing(listing: ShardListing, planned: set[int]) -> list[str]:
    problems = [f"{uri!r}: foreign: no file of a run has such a name" for uri in listing.foreign]
    named = [(number, info.uri) for number, info in listing.shards]
    named += [(number, uri) for number, uris in listing.retries.items() for _, uri in uris]
    limit = f"the manifest has {_counted(len(planned), 'shard')}"
    problems += [
        f"{uri!r}: foreign: {limit}, none with number {number}"
        for number, uri in named
        if number not in planned
    ]
    return problems


def _with_remedy(error: StorageError, remedy: str) -> str:
    return f"{error}; {remedy}" if isinstance(error, DamagedShardError) else str(error)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
