"""Compare the rows of one shard with the items that the manifest plans for it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

import pyarrow as pa
import pyarrow.compute as pc

from jobs.rundir.rows import ManifestItem, table_to_items
from jobs.rundir.schemas import Status
from jobs.rundir.untrusted.row_values import unknown_categories

_IDENTITY = ("item_id", "frame_index", "image_id", "uri")


class _RowKey(NamedTuple):
    """The identity of a planned row; a row that differs in any field is not planned."""

    item_id: int
    frame_index: int | None
    image_id: int
    uri: str

    def __str__(self) -> str:
        frame = "" if self.frame_index is None else f", frame {self.frame_index}"
        return f"item {self.item_id}{frame}, image {self.image_id}, {self.uri!r}"


class _RowStatus(NamedTuple):
    """The status of a row, and the last frame that a quarantined row of a video stands for."""

    status: Status
    last_frame: int | None


@dataclass(kw_only=True)
class FrameCounts:
    """The planned frames of a video, or of several, counted by status."""

    planned: int = 0
    ok: int = 0
    quarantined: int = 0

    @property
    def missing(self) -> int:
        return self.planned - self.ok - self.quarantined

    def add(self, other: FrameCounts) -> None:
        self.planned += other.planned
        self.ok += other.ok
        self.quarantined += other.quarantined


@dataclass(kw_only=True)
class ShardAudit:
    """Counts of rows and items, and one line for each problem.

    A quarantined row of a video counts once for each frame that it stands for. ``videos`` counts
    the frames among the rows again, by the video's uri. ``first_quarantined`` is the uri of the
    first quarantined row and the reason.
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
    first_quarantined: str | None = None

    @property
    def num_missing(self) -> int:
        return self.num_planned - self.num_ok - self.num_quarantined

    @property
    def num_items_missing(self) -> int:
        """Items that lack a row."""
        return self.num_items - self.num_items_ok - self.num_items_quarantined

    def add(self, other: ShardAudit) -> None:
        """Add another shard's counts; its problems are not added, for the caller names the file."""
        self.num_planned += other.num_planned
        self.num_ok += other.num_ok
        self.num_quarantined += other.num_quarantined
        self.num_duplicated += other.num_duplicated
        self.num_items += other.num_items
        self.num_items_ok += other.num_items_ok
        self.num_items_quarantined += other.num_items_quarantined
        self.first_quarantined = self.first_quarantined or other.first_quarantined
        for uri, counts in other.videos.items():
            self.videos.setdefault(uri, FrameCounts()).add(counts)


def audit_shard(
    items: pa.Table,
    table: pa.Table | None,
    categories: Collection[int] | None = None,
) -> ShardAudit:
    """Compare a shard's rows with its items.

    Args:
        items: a ``MANIFEST`` table, in manifest order.
        table: a ``DETECTIONS`` table; None when the file is missing or damaged.
        categories: the ids that detections may have; None when they are unknown.
    """
    audit = ShardAudit(num_items=items.num_rows)
    if table is not None:
        audit.problems.extend(_problems_of_status(table))
        audit.first_quarantined = _first_quarantined(table)
        unknown = [] if categories is None else unknown_categories(table, categories)
        if unknown:
            ids = "category id" if len(unknown) == 1 else "category ids"
            audit.problems.append(
                f"{len(unknown)} {ids} that run.json does not have, the first: {unknown[0]}"
            )
        if _are_planned_images(items, table):
            num_ok = pc.sum(pc.equal(table.column("status"), "ok")).as_py()
            audit.num_planned = items.num_rows
            audit.num_ok = audit.num_items_ok = num_ok
            audit.num_quarantined = audit.num_items_quarantined = items.num_rows - num_ok
            return audit
    _audit_rows(table_to_items(items), table, audit)
    return audit


def _are_planned_images(items: pa.Table, table: pa.Table) -> bool:
    """Whether the rows are exactly those of the items, and all are images: nearly every shard."""
    return (
        table.num_rows == items.num_rows
        and pc.all(pc.equal(items.column("kind"), "image")).as_py()
        and table.column("frame_index").null_count == table.num_rows
        and all(
            pc.all(pc.equal(items.column(name), table.column(name)), skip_nulls=False).as_py()
            for name in ("item_id", "image_id", "uri")
        )
        and pc.all(pc.is_in(table.column("status"), pa.array(get_args(Status)))).as_py()
    )


def _audit_rows(items: Sequence[ManifestItem], table: pa.Table | None, audit: ShardAudit) -> None:
    """Compare row by row, and say what differs."""
    planned = [_planned_rows(item) for item in items]
    found = {} if table is None else _collect(planned, table, audit)
    absent: list[_RowKey] = []
    for item, keys in zip(items, planned, strict=True):
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
        are = "planned row is" if len(absent) == 1 else "planned rows are"
        audit.problems.append(f"{len(absent)} {are} missing, the first: {absent[0]}")


def _first_quarantined(table: pa.Table) -> str | None:
    row = pc.index(table.column("status"), "quarantined").as_py()
    if row < 0:
        return None
    uri, reason = (table.column(name)[row].as_py() for name in ("uri", "error"))
    return reason if uri in str(reason) else f"{uri!r}: {reason}"


def _planned_rows(item: ManifestItem) -> list[_RowKey]:
    return [
        _RowKey(item.item_id, frame, item.image_id + i, item.uri)
        for i, frame in enumerate(item.frames())
    ]


def _statuses(
    keys: Sequence[_RowKey], found: Mapping[_RowKey, _RowStatus]
) -> Iterator[Status | None]:
    """Find the status of each planned row of one item.

    A quarantined row stands for all frames up to its last one that have no row of their own.

    Yields:
        The status of each key; None where the row is missing.
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
    planned: Sequence[Sequence[_RowKey]], table: pa.Table, audit: ShardAudit
) -> dict[_RowKey, _RowStatus]:
    """Collect the planned rows; note rows that are unplanned, double or out of order."""
    places = {key: i for i, key in enumerate(key for keys in planned for key in keys)}
    columns = [table.column(name).to_pylist() for name in (*_IDENTITY, "status", "last_frame")]
    found: dict[_RowKey, _RowStatus] = {}
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
            found[key] = _RowStatus(status, last_frame)
            if place < last:
                misplaced.append(key)
            last = max(last, place)
    audit.num_duplicated += len(twice)
    for keys, what in (
        (unplanned, "not planned in the manifest"),
        (twice, "double"),
        (misplaced, "not in manifest order"),
    ):
        if keys:
            are = "row is" if len(keys) == 1 else "rows are"
            audit.problems.append(f"{len(keys)} {are} {what}, the first: {keys[0]}")
    return found


def _problems_of_status(table: pa.Table) -> list[str]:
    names = ("error_class", "error", "detections", "width", "height", "frame_index", "last_frame")
    known = {name: pc.is_valid(table.column(name)) for name in names}
    no_error = pc.invert(pc.or_(known["error_class"], known["error"]))
    sized = pc.and_(known["width"], known["height"])
    alone = pc.invert(known["last_frame"])
    is_ok = pc.and_(pc.and_(pc.and_(known["detections"], no_error), sized), alone)
    both_said = pc.and_(known["error_class"], known["error"])
    # A row of an image stands for itself; a row of lost frames, for all from the first to the last.
    in_order = pc.less_equal(table.column("frame_index"), table.column("last_frame"))
    spans = pc.if_else(known["frame_index"], pc.fill_null(in_order, fill_value=False), alone)
    is_quarantined = pc.and_(pc.and_(both_said, pc.invert(known["detections"])), spans)
    status = table.column("status")
    agrees = pc.or_(
        pc.and_(pc.equal(status, "ok"), is_ok),
        pc.and_(pc.equal(status, "quarantined"), is_quarantined),
    )
    wrong = table.num_rows - (pc.sum(agrees).as_py() or 0)
    rows = "row" if wrong == 1 else "rows"
    return (
        [f"{wrong} {rows} whose status, error, detections and last_frame disagree"] if wrong else []
    )
