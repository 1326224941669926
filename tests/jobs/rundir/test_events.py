"""Events are written in parts while a command works, and read as one command's."""

from pathlib import Path

import pytest

from jobs.reporting.sections.throughput import read_events
from jobs.rundir import events as events_module
from jobs.rundir.directory import RunDirectory
from jobs.rundir.events import EventLog, command_of
from jobs.rundir.shard import Receipt


def receipt(shard: int) -> Receipt:
    return Receipt(
        shard=shard,
        num_items=2,
        num_ok=2,
        num_quarantined=0,
        seconds=0.5,
        created=True,
        device="cpu of a test",
    )


def test_parts_are_there_before_the_end_and_are_read_as_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "_PART_EVENTS", 3)
    run = RunDirectory(str(tmp_path))
    with EventLog(run, shards=20) as log:
        for shard in range(20):
            log.shard(receipt(shard))
            if log._writing is not None:
                log._writing.result()
        before = sorted((tmp_path / "events").iterdir())
        assert len(before) > 3
    assert len({command_of(path.name) for path in (tmp_path / "events").iterdir()}) == 1
    found = read_events(run)
    assert sorted(commit.shard for commit in found.commits) == list(range(20))
    assert found.num_invocations == 1


def test_a_command_that_was_killed_has_told_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "PART_S", 0.0)
    run = RunDirectory(str(tmp_path))
    log = EventLog(run)
    log.shard(receipt(0))
    assert log._writing is not None
    log._writing.result()
    assert [commit.shard for commit in read_events(run).commits] == [0]


def test_files_of_earlier_versions_are_a_command_each():
    assert command_of("20261130T175202Z-123456.jsonl") == "20261130T175202Z-123456.jsonl"
    assert command_of("20261130T175202Z-12ab56-000007.jsonl") == "20261130T175202Z-12ab56"


def test_storage_that_fails_costs_the_events_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "events").write_text("a file")
    with EventLog(RunDirectory(str(tmp_path))) as log:
        log.shard(receipt(0))
    assert "the events of this command could not be written" in caplog.text
