import logging
import time

import pytest

from jobs.waiting import LastingStates, waiting


def test_a_state_is_mentioned_after_ten_seconds_and_then_ever_more_seldom() -> None:
    now = 0.0
    states = LastingStates(lambda: now)
    mentioned: list[float] = []
    for second in range(4000):
        now = float(second)
        lasting, now_due = states.update(["start"])
        assert bool(lasting) == (second >= 10)
        mentioned += [now] * len(now_due)
    assert mentioned == [10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440, 3040, 3640]


def test_a_state_that_comes_back_begins_anew() -> None:
    now = 0.0
    states = LastingStates(lambda: now)
    states.update(["room", "start"])
    now = 9.0
    states.update(["start"])
    now = 18.0
    assert states.update(["room", "start"]) == (["start"], ["start"])
    now = 28.0
    assert states.update(["room"]) == (["room"], ["room"])


def test_what_lasts_is_logged_with_the_count_of_the_moment_and_what_is_short_is_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.waiting.FIRST_S", 0.2)
    caplog.set_level(logging.INFO)
    with waiting(lambda: "short"):
        pass
    count = 2_000_000
    with waiting(lambda: f"listing: {count:,} files so far"):
        time.sleep(0.3)
        count = 3_000_000
        time.sleep(0.2)
    assert caplog.messages == [
        "listing: 2,000,000 files so far",
        "listing: 3,000,000 files so far",
    ]
