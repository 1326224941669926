"""The proof that a run is complete: every manifest item has all its rows, once, undamaged."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fcos_core.errors import ConfigError, StorageError
from jobs.rundir.audit import FrameCounts, ShardAudit, audit_shard
from jobs.rundir.digest import RunDigest
from jobs.rundir.directory import RunDirectory, ShardListing
from jobs.rundir.rows import ManifestItem
from jobs.rundir.schemas import DigestClass
from jobs.rundir.shard_reading import ShardContents, merge_retry, read_shard


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What is in a run, against what its manifest plans.

    Rows are images and frames. ``planned == ok + quarantined + missing``: frames that were lost
    together have one row in the tables, and each of them counts here.

    Attributes:
        planned: rows that the manifest asks for.
        ok: rows with detections, an empty list of them included.
        quarantined: rows of what could not be used.
        missing: rows that no undamaged shard of this run has.
        duplicated: rows that are there once more than they should.
        items_planned: images and video segments.
        items_ok: of them, those with all rows ok.
        items_quarantined: those with all rows, some quarantined.
        items_missing: those without all rows.
        digest: of all rows in manifest order; None unless the run is complete.
        digest_class: ``tolerance`` when any shard says so.
        problems: one line each, with the path.
        leftovers: hidden files among the shards, as killed attempts leave them; no problem.
        videos: of all these rows, what became of the frames of each video, by its uri.
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

    @property
    def frames(self) -> FrameCounts:
        """What became of the frames of all videos."""
        whole = FrameCounts()
        for counts in self.videos.values():
            whole.add(counts)
        return whole

    @property
    def complete(self) -> bool:
        """Whether every item has all its rows, once, and nothing else lies among them."""
        return not (self.missing or self.duplicated or self.problems)


@dataclass
class _Tally:
    """The sums so far."""

    counts: ShardAudit = field(default_factory=ShardAudit)
    digest: RunDigest = field(default_factory=RunDigest)
    digest_class: DigestClass = "exact"
    problems: list[str] = field(default_factory=list[str])


def prove(run: RunDirectory) -> Proof:
    """Check every shard of a run, one at a time, against its manifest.

    Args:
        run: the run; a ``ConfigError`` says when it has no readable manifest.

    Returns:
        The counts, every problem, and the digest when there is none.
    """
    run_id = run.read_manifest_metadata()["run_id"]
    listing = run.list_shards()
    committed = {number for number, _ in listing.shards}
    tally = _Tally(problems=_problems_of_record(run, run_id))
    planned: set[int] = set()
    for shard, items in run.iterate_manifest():
        planned.add(shard)
        if shard in committed:
            _check_shard(run, shard, items, run_id, listing, tally)
        else:
            nothing = audit_shard(items, None)
            tally.counts.add(nothing)
            span = f"items {items[0].item_id} to {items[-1].item_id}"
            rows = f"{nothing.num_planned} rows of {span}"
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
    try:
        contents = read_shard(run, shard, run_id=run_id)
    except StorageError as error:
        tally.problems.append(str(error))
        tally.counts.add(audit_shard(items, None))
        return
    _note_digest_class(contents, tally)
    table = contents.table
    audit = audit_shard(items, table)
    tally.problems.extend(f"{run.shard_uri(shard)!r}: {problem}" for problem in audit.problems)
    for attempt, uri in listing.retries.get(shard, ()):
        try:
            retried = read_shard(run, shard, run_id=run_id, attempt=attempt)
        except StorageError as error:
            tally.problems.append(str(error))
            continue
        if "ok" in retried.table.column("status").to_pylist():
            _note_digest_class(retried, tally)
        table = merge_retry(table, retried.table)
        audit = audit_shard(items, table)
        tally.problems.extend(f"{uri!r}: {problem}" for problem in audit.problems)
    tally.counts.add(audit)
    if not tally.problems:
        tally.digest.update(table)


def _note_digest_class(contents: ShardContents, tally: _Tally) -> None:
    if contents.footer.digest_class != "exact":
        tally.digest_class = contents.footer.digest_class


def _problems_of_record(run: RunDirectory, run_id: str) -> list[str]:
    try:
        record = run.read_run_record()
    except ConfigError as error:
        return [str(error)]
    if record.run_id != run_id:
        return [f"{run.run_uri!r}: foreign: it is of run {record.run_id}, this is run {run_id}"]
    return []


def _problems_of_listing(listing: ShardListing, planned: set[int]) -> list[str]:
    problems = [f"{uri!r}: foreign: no file of a run is named so" for uri in listing.foreign]
    named = [(number, info.uri) for number, info in listing.shards]
    named += [(number, uri) for number, uris in listing.retries.items() for _, uri in uris]
    limit = f"the manifest has {len(planned)} shards"
    problems += [
        f"{uri!r}: foreign: {limit}, none with number {number}"
        for number, uri in named
        if number not in planned
    ]
    return problems
