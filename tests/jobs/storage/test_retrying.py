import logging

import pytest

from fcos_core.errors import ImageError, StorageError
from jobs.storage.base import UnreadableError
from jobs.storage.retrying import RetryPolicy


class Flaky:
    """Fails a number of times, then returns 7."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return 7


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("jobs.storage.retrying.time.sleep", waited.append)
    return waited


def test_a_storage_error_is_retried_with_growing_bounded_delays(delays: list[float]) -> None:
    action = Flaky(4, StorageError("503"))
    assert RetryPolicy(attempts=5, first_delay_s=1, max_delay_s=3).run(action) == 7
    assert action.calls == 5
    for delay, longest in zip(delays, (1, 2, 3, 3), strict=True):
        assert longest / 2 <= delay <= longest


def test_the_last_error_is_raised(delays: list[float]) -> None:
    action = Flaky(9, StorageError("503"))
    with pytest.raises(StorageError, match="503"):
        RetryPolicy(attempts=3).run(action)
    assert action.calls == 3
    assert len(delays) == 2


@pytest.mark.parametrize(
    "error", [ImageError("no image"), ValueError("a bug"), UnreadableError("gone")]
)
def test_other_errors_are_not_retried(delays: list[float], error: Exception) -> None:
    action = Flaky(1, error)
    with pytest.raises(type(error)):
        RetryPolicy().run(action)
    assert action.calls == 1
    assert not delays


def test_an_action_that_fails_for_ten_seconds_is_logged_once(
    delays: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    RetryPolicy(attempts=5).run(Flaky(4, StorageError("503")))
    assert caplog.messages == []
    times = iter((0.0, 4.0, 11.0, 12.0))
    monkeypatch.setattr("jobs.storage.retrying.time.monotonic", lambda: next(times, 20.0))
    RetryPolicy(attempts=5).run(Flaky(4, StorageError("503")))
    assert caplog.messages == ["trying again, 3 of 5: 503"]
    assert len(delays) == 8
