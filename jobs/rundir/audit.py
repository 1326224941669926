"""One shard's rows against the items that the manifest plans for it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from jobs.rundir.rows import ManifestItem
from jobs.rundir.schemas import Status

_IDENTITY = ("item_id", "frame_index", "image_id", "uri")


class _RowKey(NamedTuple):
    """What says which planned row a row is; one that differs in any of it is not planned."""

    item_id: int
    frame_index: int | None
    image_id: int
    uri: str

    def __str__(self) -> str:
        frame = "" if self.frame_index is None else f", frame {self.frame_index}"
        return f"item {self.item_id}{frame}, image {self.image_id}, {self.uri!r}"


class _Found(NamedTuple):
    """What a row says of its own frame, and up to which one it speaks for others."""

    status: Status
    last_frame: int | None


@dataclass(kw_only=True)
class FrameCounts:
    """What became of the planned frames of a video, or of several."""

    planned: int = 0
    ok: int = 0
    quarantined: int = 0

    @property
    def missing(self) -> int:
        """Frames that are planned and not there."""
        return self.planned - self.ok - self.quarantined

    def add(self, other: FrameCounts) -> None:
        """Count more frames."""
        self.planned += other.planned
        self.ok += other.ok
        self.quarantined += other.quarantined


@dataclass(kw_only=True)
class ShardAudit:
    """Counts of rows and items, and what is wrong, one line each.

    A quarantined row of a video counts with all the frames that it stands for. ``videos`` has the
    frames among the rows again, by uri.
    """

    num_planned: int = 0
    num_ok: int = 0
    num_quarantined: int = 0
    num_duplicated: int = 0
    num_items: int = 0
    num_items_ok: int = 0
    num_items_quarantined: int = 0
    videos: dict[str, FrameCounts] = field(default_factory=dict[str, FrameCounts])
    problems: list[str] = field(default_factory=list[str])

    @property
    def num_missing(self) -> int:
        """Rows that are planned and not there."""
        return self.num_planned - self.num_ok - self.num_quarantined

    @property
    def num_items_missing(self) -> int:
        """Items that lack a row."""
        return self.num_items - self.num_items_ok - self.num_items_quarantined

    def add(self, other: ShardAudit) -> None:
        """Add another shard's counts; its problems are the caller's to name the file of."""
        self.num_planned += other.num_planned
        self.num_ok += other.num_ok
        self.num_quarantined += other.num_quarantined
        self.num_duplicated += other.num_duplicated
        self.num_items += other.num_items
        self.num_items_ok += other.num_items_ok
        self.num_items_quarantined += other.num_items_quarantined
        for uri, counts in other.videos.items():
            self.videos.setdefault(uri, FrameCounts()).add(counts)


def audit_shard(items: Sequence[ManifestItem], table: pa.Table | None) -> ShardAudit:
    """Compare a shard's rows with its items.

    Args:
        items: the shard's items, in manifest order.
        table: its ``DETECTIONS`` table; None when there is none to be had.
    """
    audit = ShardAudit(num_items=len(items))
    found: dict[_RowKey, _Found] = {}
    if table is not None:
        found = _collect(items, table, audit)
        audit.problems.extend(_problems_of_status(table))
    absent: list[_RowKey] = []
    for item in items:
        keys = _planned_rows(item)
        statuses = list(_statuses(keys, found))
        num_ok, num_quarantined = statuses.count("ok"), statuses.count("quarantined")
        audit.num_planned += len(keys)
        audit.num_ok += num_ok
        audit.num_quarantined += num_quarantined
        if item.kind == "video_segment":
            counts = FrameCounts(planned=len(keys), ok=num_ok, quarantined=num_quarantined)
            audit.videos.setdefault(item.uri, FrameCounts()).add(counts)
        if num_ok + num_quarantined < len(keys):
            absent.extend(key for key, known in zip(keys, statuses, strict=True) if known is None)
        elif not num_quarantined:
            audit.num_items_ok += 1
        else:
            audit.num_items_quarantined += 1
    if absent and table is not None:
        audit.problems.append(f"{len(absent)} planned rows are missing, the first: {absent[0]}")
    return audit


def _planned_rows(item: ManifestItem) -> list[_RowKey]:
    return [
        _RowKey(item.item_id, frame, item.image_id + i, item.uri)
        for i, frame in enumerate(item.frames())
    ]


def _statuses(keys: Sequence[_RowKey], found: Mapping[_RowKey, _Found]) -> Iterator[Status | None]:
    """Say what became of each planned row of one item; None where nothing says it.

    A quarantined row speaks for all frames up to its last one that have no row of their own.

    Yields:
        A status per key.
    """
    lost_until: int | None = None
    for key in keys:
        row = found.get(key)
        if row is not None:
            lost_until = row.last_frame if row.status == "quarantined" else lost_until
            yield row.status
        elif (
            lost_until is not None and key.frame_index is not None and key.frame_index <= lost_until
        ):
            yield "quarantined"
        else:
            yield None


def _collect(
    items: Sequence[ManifestItem], table: pa.Table, audit: ShardAudit
) -> dict[_RowKey, _Found]:
    """Take the rows that are planned, and put down those that are not, are twice or misplaced."""
    places = {key: i for i, key in enumerate(key for item in items for key in _planned_rows(item))}
    columns = [table.column(name).to_pylist() for name in (*_IDENTITY, "status", "last_frame")]
    found: dict[_RowKey, _Found] = {}
    unplanned: list[_RowKey] = []
    twice: list[_RowKey] = []
    misplaced: list[_RowKey] = []
    last = -1
    for *identity, status, last_frame in zip(*columns, strict=True):
        key = _RowKey(*identity)
        place = places.get(key)
        if place is None:
            unplanned.append(key)
        elif key in found:
            twice.append(key)
        else:
            found[key] = _Found(status, last_frame)
            if place < last:
                misplaced.append(key)
            last = max(last, place)
    audit.num_duplicated += len(twice)
    for keys, what in (
        (unplanned, "rows are not planned in the manifest"),
        (twice, "rows are there again"),
        (misplaced, "rows are not in manifest order"),
    ):
        if keys:
            audit.problems.append(f"{len(keys)} {what}, the first: {keys[0]}")
    return found


def _problems_of_status(table: pa.Table) -> list[str]:
    names = ("error_class", "error", "detections", "width", "height", "frame_index", "last_frame")
    known = {name: pc.is_valid(table.column(name)) for name in names}
    no_error = pc.invert(pc.or_(known["error_class"], known["error"]))
    sized = pc.and_(known["width"], known["height"])
    alone = pc.invert(known["last_frame"])
    is_ok = pc.and_(pc.and_(pc.and_(known["detections"], no_error), sized), alone)
    both_said = pc.and_(known["error_class"], known["error"])
    # A still stands for itself; lost frames, for those from the first to the last of them.
    in_order = pc.less_equal(table.column("frame_index"), table.column("last_frame"))
    spans = pc.if_else(known["frame_index"], pc.fill_null(in_order, fill_value=False), alone)
    is_quarantined = pc.and_(pc.and_(both_said, pc.invert(known["detections"])), spans)
    status = table.column("status")
    agrees = pc.or_(
        pc.and_(pc.equal(status, "ok"), is_ok),
        pc.and_(pc.equal(status, "quarantined"), is_quarantined),
    )
    wrong = table.num_rows - (pc.sum(agrees).as_py() or 0)
    return (
        [f"{wrong} rows whose status, error, detections and last_frame disagree"] if wrong else []
    )
