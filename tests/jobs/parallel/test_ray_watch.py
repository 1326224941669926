"""When a watch takes its processes for dead: real processes, killed and stopped."""

import signal
import subprocess
from collections.abc import Generator

import pytest

from jobs.parallel import ray_watch
from jobs.parallel.guard import RayLostError
from jobs.parallel.ray_watch import check_ray, raising_ray_lost, watched
from tests.processes import wait_until


@pytest.fixture
def raylet(monkeypatch: pytest.MonkeyPatch) -> Generator["subprocess.Popen[bytes]"]:
    monkeypatch.setattr(ray_watch, "_LOOK_S", 0.05)
    with subprocess.Popen(["sleep", "60"]) as process:  # noqa: S607
        yield process
        process.kill()


def is_lost() -> bool:
    try:
        check_ray()
    except RayLostError:
        return True
    return False


def test_a_process_that_runs_is_no_reason(raylet: "subprocess.Popen[bytes]") -> None:
    with watched({"raylet": raylet}):
        check_ray()


def test_a_process_that_has_ended_is_named_with_its_signal(
    raylet: "subprocess.Popen[bytes]",
) -> None:
    with watched({"raylet": raylet}):
        raylet.kill()
        wait_until(is_lost, timeout_s=10)
        with pytest.raises(RayLostError, match="Ray's raylet was ended by SIGKILL"):
            check_ray()
    check_ray()


def test_a_process_that_stays_stopped_is_killed_and_named(
    raylet: "subprocess.Popen[bytes]",
) -> None:
    with watched({"raylet": raylet}):
        raylet.send_signal(signal.SIGSTOP)
        wait_until(is_lost, timeout_s=10)
        assert raylet.wait(10) == -signal.SIGKILL


def test_a_process_that_goes_on_again_is_left_alone(raylet: "subprocess.Popen[bytes]") -> None:
    with watched({"raylet": raylet}):
        for _ in range(3):
            raylet.send_signal(signal.SIGSTOP)
            with pytest.raises(subprocess.TimeoutExpired):
                raylet.wait(0.2)
            raylet.send_signal(signal.SIGCONT)
            with pytest.raises(subprocess.TimeoutExpired):
                raylet.wait(0.2)
        check_ray()


def test_an_error_is_put_down_to_a_process_that_has_ended(
    raylet: "subprocess.Popen[bytes]",
) -> None:
    with watched({"raylet": raylet}):
        with pytest.raises(ValueError, match="a bug"), raising_ray_lost():
            raise ValueError("a bug")
        raylet.kill()
        raylet.wait()
        with pytest.raises(RayLostError, match="SIGKILL"), raising_ray_lost():
            raise ValueError("a broken pipe")
