"""Throughput of a run, over time and by device, from its event files."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fcos_core.errors import StorageError, one_line
from jobs.html import formats
from jobs.html.charts import Series, line_chart
from jobs.html.section import Section
from jobs.html.svg import Axis, axis_from_zero
from jobs.html.tabular import Cell, Column, Table, count_cell, name_cell, rate_cell, table
from jobs.inputs.video_pace import VideoPace
from jobs.rundir.directory import RunDirectory
from jobs.rundir.events import command_of
from jobs.rundir.rows import frames_of_videos
from jobs.rundir.untrusted.limits import MAX_SHARD_ROWS
from jobs.storage import storage_for

_log = logging.getLogger(__name__)

_NUM_BINS = 40
_UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))
_LEAST_UNITS = 3


class _ShardEvent(BaseModel):
    """The fields of an event that a report shows."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    created: bool
    num_ok: int = Field(ge=0, le=MAX_SHARD_ROWS)
    num_quarantined: int = Field(ge=0, le=MAX_SHARD_ROWS)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    device: str
    shard: int = -1


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A committed shard.

    Attributes:
        at_s: time of the commit in seconds since the start, without pauses between invocations.
        num_rows: number of images and frames in the shard.
        seconds: time from the shard's first image to its last row.
        device: model of the device that computed the shard.
        shard: number of the shard.
        is_first: whether this is the shard itself; false for a retry of its quarantined items.
    """

    at_s: float
    num_rows: int
    seconds: float
    device: str
    shard: int = -1
    is_first: bool = True


@dataclass(frozen=True, kw_only=True)
class RunEvents:
    """The events of all invocations of a run, with their total duration; commits are by time.

    ``num_dropped`` counts the shards that another worker had committed first.
    """

    commits: Sequence[Commit]
    seconds: float
    num_invocations: int
    num_dropped: int


def read_events(run: RunDirectory) -> RunEvents:
    """Read the files of ``events/``; a command whose files cannot be read is left out, and said."""
    commits: list[Commit] = []
    seconds, num_invocations, num_dropped = 0.0, 0, 0
    folder = run.event_uri("").rstrip("/")
    storage = storage_for(folder)
    names = (info.uri.removeprefix(f"{folder}/") for info in storage.list(folder))
    for command, parts in groupby(sorted(names), key=command_of):
        try:
            lines = b"".join(storage.read(run.event_uri(name)) for name in parts)
            events = _read_invocation(lines, seconds)
        except (StorageError, ValueError, LookupError, TypeError, RecursionError) as error:
            uri = run.event_uri(command)
            _log.warning("%s is left out of the report: %s", uri, one_line(error))
            continue
        commits += events.commits
        seconds += events.seconds
        num_invocations += 1
        num_dropped += events.num_dropped
    return RunEvents(
        commits=commits,
        seconds=seconds,
        num_invocations=num_invocations,
        num_dropped=num_dropped,
    )


def pace_of_videos(events: RunEvents, run: RunDirectory) -> VideoPace:
    """The speed of each video, from the times of its shards."""
    seconds = {commit.shard: commit.seconds for commit in events.commits if commit.is_first}
    pace = VideoPace()
    for shard, items in run.manifest().iterate():
        if shard in seconds:
            num_rows = sum(item.num_frames or 1 for item in items)
            pace.add(frames_of_videos(items), num_rows, seconds[shard])
    return pace


def throughput_section(events: RunEvents) -> Section:
    """Images per second, over time and by device."""
    name, title = "throughput", "Throughput"
    if not events.commits:
        return Section(
            name=name,
            title=title,
            absent="The run has no event files, so its speed is not known.",
        )
    num_rows = sum(commit.num_rows for commit in events.commits)
    starts = formats.count(events.num_invocations)
    per_second = formats.rate(num_rows / events.seconds) if events.seconds else formats.UNDEFINED
    lead = (
        f"{formats.counted(num_rows, 'image')} in {formats.seconds(events.seconds)}, including the "
        f"start of the workers: {per_second} per second. "
        + (f"The run was started {starts} times; the pauses do not count." if starts != "1" else "")
    )
    return Section(
        name=name,
        title=title,
        lead=lead.strip(),
        data={
            "figure": line_chart(
                "Images per second",
                *_rates(events),
            ),
            "devices": _devices(events.commits),
            "num_dropped": events.num_dropped,
        },
    )


def _read_invocation(data: bytes, begin_s: float) -> RunEvents:
    """Read one invocation's events; ``begin_s`` is the duration of the invocations before.

    Raises:
        ValueError: the file holds no events.
    """
    events: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
    if not events:
        raise ValueError("the file is empty")
    times = [datetime.fromisoformat(event["time"]) for event in events]
    shards = [
        (begin_s + (time - times[0]).total_seconds(), _ShardEvent.model_validate(event))
        for time, event in zip(times, events, strict=True)
        if event["event"] == "shard"
    ]
    return RunEvents(
        commits=[
            _commit(at_s, event, is_first=events[0].get("attempt") is None)
            for at_s, event in shards
            if event.created
        ],
        seconds=(max(times) - times[0]).total_seconds(),
        num_invocations=1,
        num_dropped=sum(not event.created for _, event in shards),
    )


def _commit(at_s: float, event: _ShardEvent, *, is_first: bool) -> Commit:
    return Commit(
        at_s=at_s,
        num_rows=event.num_ok + event.num_quarantined,
        seconds=event.seconds,
        device=event.device,
        shard=event.shard,
        is_first=is_first,
    )


def _unit(total_s: float) -> tuple[str, float]:
    """A time unit in which the total is at least ``_LEAST_UNITS``, and its length in seconds."""
    return next((unit for unit in _UNITS if total_s >= _LEAST_UNITS * unit[1]), _UNITS[-1])


def _rates(events: RunEvents) -> tuple[Axis, Axis, list[Series]]:
    """Images per second of each device over time: the x axis, the y axis and the lines."""
    unit, in_s = _unit(events.seconds)
    width_s = events.seconds / _NUM_BINS or 1.0
    per_device: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for commit in events.commits:
        per_device[commit.device][min(int(commit.at_s / width_s), _NUM_BINS - 1)] += commit.num_rows
    series = [
        Series(
            name=formats.text(device, 60),
            points=[((i + 0.5) * width_s / in_s, counts[i] / width_s) for i in range(_NUM_BINS)],
        )
        for device, counts in sorted(per_device.items())
    ]
    largest = max(y for one in series for _, y in one.points)
    time_axis = axis_from_zero(f"running time, {unit}", events.seconds / in_s)
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
            rate_cell(_rate(own)),
        )
        for device, own in sorted(by_device.items())
    ]
    return table(
        "By device",
        (
            Column(title="device", is_text=True),
            Column(title="shards"),
            Column(title="images"),
            Column(
                title="busy",
                hint="time from the first image of a shard to its last row, summed over shards",
            ),
            Column(title="images/s while busy", hint="of one worker"),
        ),
        rows,
    )


def _seconds_cell(value: float) -> Cell:
    return Cell(text=formats.seconds(value), value=value)


def _rate(commits: Sequence[Commit]) -> float | None:
    busy_s = sum(commit.seconds for commit in commits)
    return sum(commit.num_rows for commit in commits) / busy_s if busy_s else None
