"""Throughput does not count the pauses between invocations."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from jobs.reporting.sections.throughput import read_events, throughput_section
from jobs.rundir.directory import RunDirectory

SHARD: dict[str, Any] = {"num_ok": 9, "num_quarantined": 1, "seconds": 4.0, "created": True}


def write(run: RunDirectory, name: str, hour: int, *shards: tuple[int, str, bool]) -> None:
    """Events of one minute: shards by second, device and whether they were committed."""
    events: list[dict[str, Any]] = [{"event": "begin"}]
    times = [0, *(second for second, _, _ in shards), 60]
    for _, device, created in shards:
        events.append({"event": "shard", **SHARD, "device": device, "created": created})
    events.append({"event": "end"})
    path = Path(run.event_uri(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            json.dumps({"time": f"2025-01-01T{hour:02}:{t // 60:02}:{t % 60:02}+00:00", **event})
            + "\n"
            for t, event in zip(times, events, strict=True)
        )
    )


def test_the_times_of_two_invocations_are_joined_without_the_pause(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    write(run, "a.jsonl", 1, (10, "H100", True), (30, "L4", True))
    write(run, "b.jsonl", 9, (20, "H100", True), (40, "H100", False))

    events = read_events(run)
    section = throughput_section(events)

    assert [commit.at_s for commit in events.commits] == [10, 30, 80]
    assert (events.seconds, events.num_invocations, events.num_dropped) == (120, 2, 1)
    assert "30 images in 2 min 0 s" in section.lead
    assert "started 2 times" in section.lead
    table = section.data["devices"]
    assert [cell.text for cell in table.rows[0]][:3] == ["H100", "2", "20"]
    assert table.rows[0][4].value == 2.5
    drawn = json.loads(
        str(section.data["figure"].image)
        .split('data-lines="')[1]
        .split('"')[0]
        .replace("&#34;", '"')
    )
    rates = [sum(y for _, y in one["points"]) * 120 / 40 for one in drawn["series"]]
    assert rates == [pytest.approx(20, abs=1e-3), pytest.approx(10, abs=1e-3)], (
        "rounded to 4 digits"
    )


def test_a_file_without_events_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run = RunDirectory(str(tmp_path))
    write(run, "a.jsonl", 1, (10, "cpu", True))
    for name, content in (("b.jsonl", "{"), ("c.jsonl", ""), ("d.jsonl", '{"time": "?"}')):
        Path(run.event_uri(name)).write_text(content)

    with caplog.at_level(logging.WARNING):
        events = read_events(run)

    assert len(events.commits) == 1
    assert [name for name in "bcd" if f"{name}.jsonl is left out" in caplog.text] == list("bcd")


def test_a_run_without_events_has_no_throughput(tmp_path: Path):
    section = throughput_section(read_events(RunDirectory(str(tmp_path))))

    assert section.absent is not None
