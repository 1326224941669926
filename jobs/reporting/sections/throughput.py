"""How fast a run was, over time and on which devices, from the events it left."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fcos_core.errors import StorageError
from jobs.html import formats
from jobs.html.charts import Series, line_chart
from jobs.html.section import Section
from jobs.html.svg import Axis, axis_from_zero
from jobs.html.tabular import Cell, Column, Table, count_cell, name_cell, table
from jobs.rundir.directory import RunDirectory
from jobs.rundir.video_pace import VideoPace
from jobs.storage import storage_for

_log = logging.getLogger(__name__)

_NUM_BINS = 40
_UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))
_LEAST_UNITS = 3


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A shard that was finished.

    Attributes:
        at_s: seconds of work before it; pauses between invocations do not count.
        num_rows: images and frames in it.
        seconds: it was worked on, from its first image to its last row.
        device: model of what computed it.
        shard: its number.
        is_first: whether it is the shard itself, and no later attempt at what was quarantined.
    """

    at_s: float
    num_rows: int
    seconds: float
    device: str
    shard: int = -1
    is_first: bool = True


@dataclass(frozen=True, kw_only=True)
class Work:
    """All that was done for a run.

    Attributes:
        commits: by rising time.
        seconds: of all invocations together.
        num_invocations: of ``fcos detect`` or ``fcos run``.
        num_dropped: shards that another attempt had finished first.
    """

    commits: Sequence[Commit]
    seconds: float
    num_invocations: int
    num_dropped: int


def read_work(run: RunDirectory) -> Work:
    """Read every file of ``events/``; what is none of ours is passed over with a warning."""
    commits: list[Commit] = []
    seconds, num_invocations, num_dropped = 0.0, 0, 0
    folder = run.event_uri("").rstrip("/")
    storage = storage_for(folder)
    for info in storage.list(folder):
        try:
            work = _read_invocation(storage.read(info.uri), seconds)
        except (StorageError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s is left out of the report: %s", info.uri, error)
            continue
        commits += work.commits
        seconds += work.seconds
        num_invocations += 1
        num_dropped += work.num_dropped
    return Work(
        commits=commits,
        seconds=seconds,
        num_invocations=num_invocations,
        num_dropped=num_dropped,
    )


def pace_of_videos(work: Work, run: RunDirectory) -> VideoPace:
    """How fast each video was, as far as the events tell."""
    seconds = {commit.shard: commit.seconds for commit in work.commits if commit.is_first}
    pace = VideoPace()
    for shard, items in run.iterate_manifest():
        if shard in seconds:
            pace.add(items, seconds[shard])
    return pace


def throughput_section(work: Work) -> Section:
    """How fast the run was."""
    name, title = "throughput", "Throughput"
    if not work.commits:
        return Section(
            name=name,
            title=title,
            absent="The run left no events, so nothing is known of its speed.",
        )
    num_rows = sum(commit.num_rows for commit in work.commits)
    starts = formats.count(work.num_invocations)
    per_second = formats.rate(num_rows / work.seconds) if work.seconds else formats.UNDEFINED
    lead = (
        f"{formats.counted(num_rows, 'image')} in {formats.seconds(work.seconds)}, start of the "
        f"workers included: {per_second} per second. "
        + (f"The run was started {starts} times; the pauses are left out." if starts != "1" else "")
    )
    return Section(
        name=name,
        title=title,
        lead=lead.strip(),
        data={
            "figure": line_chart(
                "Images finished per second",
                *_rates(work),
            ),
            "devices": _devices(work.commits),
            "num_dropped": work.num_dropped,
        },
    )


def _read_invocation(data: bytes, begin_s: float) -> Work:
    """Read the events of one invocation.

    Args:
        data: a file of lines of JSON.
        begin_s: seconds of work before it.

    Raises:
        ValueError: it holds no events.
    """
    events: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
    if not events:
        raise ValueError("it is empty")
    times = [datetime.fromisoformat(event["time"]) for event in events]
    shards = [
        (begin_s + (time - times[0]).total_seconds(), event)
        for time, event in zip(times, events, strict=True)
        if event["event"] == "shard"
    ]
    return Work(
        commits=[
            _commit(at_s, event, is_first=events[0].get("attempt") is None)
            for at_s, event in shards
            if event["created"]
        ],
        seconds=(max(times) - times[0]).total_seconds(),
        num_invocations=1,
        num_dropped=sum(not event["created"] for _, event in shards),
    )


def _commit(at_s: float, event: dict[str, Any], *, is_first: bool) -> Commit:
    return Commit(
        at_s=at_s,
        num_rows=int(event["num_ok"]) + int(event["num_quarantined"]),
        seconds=float(event["seconds"]),
        device=str(event["device"]),
        shard=int(event.get("shard", -1)),
        is_first=is_first,
    )


def _unit(total_s: float) -> tuple[str, float]:
    """The largest unit of which there are some, and its seconds."""
    return next((unit for unit in _UNITS if total_s >= _LEAST_UNITS * unit[1]), _UNITS[-1])


def _rates(work: Work) -> tuple[Axis, Axis, list[Series]]:
    """Bin what was finished, device by device: the axes below and at the left, and the lines."""
    unit, in_s = _unit(work.seconds)
    width_s = work.seconds / _NUM_BINS or 1.0
    per_device: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for commit in work.commits:
        per_device[commit.device][min(int(commit.at_s / width_s), _NUM_BINS - 1)] += commit.num_rows
    series = [
        Series(
            name=formats.text(device, 60),
            points=[((i + 0.5) * width_s / in_s, counts[i] / width_s) for i in range(_NUM_BINS)],
        )
        for device, counts in sorted(per_device.items())
    ]
    largest = max(y for one in series for _, y in one.points)
    time_axis = axis_from_zero(f"{unit} of work", work.seconds / in_s)
    return time_axis, axis_from_zero("images per second", largest), series


def _devices(commits: Iterable[Commit]) -> Table:
    by_device: defaultdict[str, list[Commit]] = defaultdict(list)
    for commit in commits:
        by_device[commit.device].append(commit)
    rows = [
        (
            name_cell(device),
            count_cell(len(own)),
            count_cell(sum(commit.num_rows for commit in own)),
            _seconds_cell(sum(commit.seconds for commit in own)),
            _rate_cell(own),
        )
        for device, own in sorted(by_device.items())
    ]
    return table(
        "By device",
        (
            Column(title="device", is_text=True),
            Column(title="shards"),
            Column(title="images"),
            Column(title="busy", hint="from the first image of a shard to its last row, summed"),
            Column(title="images/s busy", hint="of one worker while it was busy"),
        ),
        rows,
    )


def _seconds_cell(value: float) -> Cell:
    return Cell(text=formats.seconds(value), value=value)


def _rate_cell(commits: Sequence[Commit]) -> Cell:
    busy_s = sum(commit.seconds for commit in commits)
    if not busy_s:
        return Cell(text=formats.UNDEFINED, value=None)
    value = sum(commit.num_rows for commit in commits) / busy_s
    return Cell(text=formats.rate(value), value=value)
