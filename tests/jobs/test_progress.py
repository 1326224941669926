import contextlib
import io
import os
import pty
import re
import sys
import time

import pytest

from jobs.progress import Pace, ProgressReport


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_count_only_what_was_done_now() -> None:
    clock = Clock()
    pace = Pace(1000, 500, clock=clock)
    assert pace.summary() == "starting"
    clock.now += 10
    pace.done += 100
    assert pace.per_second == 10
    assert pace.summary() == "10 images/s, 40s left"
    pace.quarantined += 3
    assert pace.summary() == "10 images/s, 40s left, 3 quarantined"


@pytest.mark.parametrize(
    ("left", "text"), [(59, "59s"), (61, "1m 01s"), (3599, "59m 59s"), (7260, "2h 01m")]
)
def test_time_left_is_written_in_hours_minutes_and_seconds(left: int, text: str) -> None:
    clock = Clock()
    pace = Pace(left + 1, 0, clock=clock)
    clock.now += 1
    pace.done += 1
    assert pace.summary() == f"1 images/s, {text} left"


def test_plain_lines_come_in_time_and_at_the_end() -> None:
    stream = io.StringIO()
    with ProgressReport(8, 2, stream=stream, line_every_s=0.05) as progress:
        time.sleep(0.2)
        before = stream.getvalue().splitlines()
        progress.add(rows=6, quarantined=1)
    lines = stream.getvalue().splitlines()
    assert 2 <= len(before) <= 5
    assert before[0].startswith("detect: 2/8 images (25 %), starting, ")
    assert lines[-1].startswith("detect: 8/8 images (100 %), ")
    assert ", 1 quarantined, " in lines[-1]


def test_a_run_without_items_has_no_division_by_zero() -> None:
    stream = io.StringIO()
    with ProgressReport(0, 0, stream=stream):
        pass
    assert "0/0 images (100 %)" in stream.getvalue()


def test_a_row_may_stand_for_several_images_and_carry_a_note() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressReport(
        100, 40, job="train", unit="steps", images_per_row=4, stream=stream, clock=clock
    ) as progress:
        clock.now += 5
        progress.add(rows=10, note="loss 1.750", details="box 0.500")
        assert progress.pace.summary() == "loss 1.750, 8 images/s, 25s left"
        progress.write("train: a line of its own")
    assert stream.getvalue().splitlines() == [
        "train: a line of its own",
        "train: 50/100 steps (50 %), loss 1.750 (box 0.500), 8 images/s, 25s left, 5s elapsed",
    ]


def test_why_workers_wait_is_a_line_after_ten_seconds_and_no_part_of_the_others() -> None:
    stream, clock = io.StringIO(), Clock()
    waits = {"start": lambda: "2 workers loading the model"}
    with ProgressReport(8, 0, stream=stream, clock=clock) as progress:
        for _ in range(15):
            progress.show_waits(waits)
            clock.now += 1
        progress.show_waits({})
        clock.now += 60
        progress.show_waits(waits)
    assert stream.getvalue().splitlines() == [
        "detect: 2 workers loading the model",
        "detect: 0/8 images (0 %), starting, 1m 15s elapsed",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_why_workers_wait_stands_in_the_line_of_a_terminals_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    clock = Clock()
    waits = {"ready": lambda: "1 worker waiting for a place: each needs 64 CPUs"}
    with (
        os.fdopen(follower, "w") as stream,
        ProgressReport(8, 0, stream=stream, clock=clock) as progress,
    ):
        progress.show_waits(waits)
        clock.now += 11
        progress.show_waits(waits)
        waiting = progress.pace.summary()
        progress.show_waits({})
        assert progress.pace.summary() == "starting"
        progress.show_waits(waits)
        clock.now += 11
        progress.show_waits(waits)
    assert waiting == "1 worker waiting for a place: each needs 64 CPUs"
    shown = read_all(leader)
    assert shown.count("\n") == 1
    assert waiting in shown


def test_rows_that_are_done_again_count_once() -> None:
    clock = Clock()
    with ProgressReport(100, 40, stream=io.StringIO(), clock=clock) as progress:
        clock.now += 5
        progress.add(rows=10)
        progress.add(rows=-20)
        assert progress.pace.summary() == "starting"
        progress.add(rows=20)
        assert progress.pace.summary() == "2 images/s, 25s left"


def read_all(descriptor: int) -> str:
    data = b""
    with contextlib.suppress(OSError):  # how a pseudo terminal ends
        while part := os.read(descriptor, 65536):
            data += part
    os.close(descriptor)
    return data.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
@pytest.mark.parametrize("columns", [20, 40, 120])
def test_a_terminal_gets_a_bar_that_stays_on_one_line(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    with (
        os.fdopen(follower, "w") as stream,
        ProgressReport(100_000, 0, stream=stream) as progress,
    ):
        progress.add(rows=50_000, quarantined=12_345)
    shown = read_all(leader)
    assert shown.count("\n") == 1  # at the end; a line that wraps has one in each drawing
    drawings = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).split("\r")
    assert max(len(drawing.strip()) for drawing in drawings) <= columns
    last = [drawing for drawing in drawings if "50000/100000" in drawing][-1]
    assert ("━" in last) == (columns == 120)
