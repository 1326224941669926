"""The command's own Ray dies: the command goes on with a new one, or says why it does not.

Processes of Ray are killed, and stopped, as an administrator or the kernel may do. The digest stays
that of an undisturbed run.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.settings.detect import DetectConfig
from tests.chaos.nodes import cluster_environment, running_nodes
from tests.commands import (
    INCOMPLETE,
    Answer,
    Running,
    num_committed,
    run_python,
    started,
    started_python,
)
from tests.fuzz.finished import finish
from tests.processes import actors_below, children_below, is_gone, wait_until
from tests.sockets import exposed_sockets

pytestmark = pytest.mark.ray

PROCESSES = {
    "raylet": "raylet/raylet ",
    "gcs_server": "gcs_server",
    "dashboard agent": "ray::DashboardAgent",
    "runtime_env agent": "ray::RuntimeEnvAgent",
}
"""What the command lines of Ray's processes have in them."""

NOT_STARTED = ("log_monitor.py", "dashboard.py", "autoscaler/_private/monitor.py")
"""Processes of Ray that cost seconds and do nothing for a run."""

A_MINUTE_S = 60.0


def config_of(images: Path, weights: Path, out: Path) -> DetectConfig:
    return DetectConfig(
        inputs=(str(images),),
        out=str(out),
        weights=str(weights),
        shard_size=1,
        batch_size=1,
        threads_per_actor=1,
        num_actors=1,
    )


@pytest.fixture(scope="module")
def undisturbed(
    images: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> str | None:
    """The digest of a run that is computed in this process."""
    config = config_of(images, tiny_weights, tmp_path_factory.mktemp("undisturbed") / "run")
    finish(config)
    return prove(RunDirectory(config.out)).digest


def command(config: DetectConfig, *options: str) -> list[str]:
    return [
        *("detect", *config.inputs, "--out", config.out, "--weights", config.weights),
        *("--shard-size", "1", "--batch-size", "1", "--threads-per-actor", "1"),
        *("--num-actors", "1", *options),
    ]


def find(driver: Running, name: str) -> int | None:
    """The process id of one of Ray's processes, if it runs."""
    found = [pid for pid, line in children_below(driver.pid).items() if PROCESSES[name] in line]
    return found[0] if found else None


def struck(
    config: DetectConfig, name: str, number: signal.Signals, *, at: int = 1
) -> tuple[Answer, float]:
    """Send a signal to a process of Ray during a run.

    Args:
        config: the run.
        name: of the process.
        number: the signal.
        at: number of shards that are committed before.

    Returns:
        What the command answered, and how long it took after the last shard.
    """
    num_shards = 20
    with started(*command(config)) as driver:
        driver.wait_until(lambda: num_committed(config.out) >= at)
        pid = find(driver, name)
        assert pid is not None
        descendants = children_below(driver.pid)
        assert [line for line in descendants.values() if any(n in line for n in NOT_STARTED)] == []
        assert exposed_sockets(driver.pid) == set()
        os.kill(pid, number)
        driver.wait_until(lambda: num_committed(config.out) == num_shards)
        done_at = time.monotonic()
        answer = driver.finish()
        seconds = time.monotonic() - done_at
    wait_until(lambda: all(is_gone(pid) for pid in descendants), timeout_s=A_MINUTE_S)
    return answer, seconds


def test_a_killed_raylet_is_said_and_the_command_is_started_again(
    tmp_path: Path, images: Path, tiny_weights: Path, undisturbed: str
) -> None:
    config = config_of(images, tiny_weights, tmp_path / "run")
    answer, _ = struck(config, "raylet", signal.SIGKILL)
    assert answer.result()["digest"] == undisturbed
    said = [line for line in answer.stderr.splitlines() if "Ray's" in line]
    assert said == ["Ray's raylet was ended by SIGKILL; the command is started again"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda n: n.name)
@pytest.mark.parametrize("name", PROCESSES)
def test_whichever_process_of_ray_dies_the_run_is_complete(
    tmp_path: Path,
    images: Path,
    tiny_weights: Path,
    undisturbed: str,
    name: str,
    number: signal.Signals,
) -> None:
    config = config_of(images, tiny_weights, tmp_path / "run")
    answer, seconds = struck(config, name, number)
    assert answer.result()["digest"] == undisturbed
    assert seconds < A_MINUTE_S


@pytest.mark.slow
def test_a_gcs_that_stops_when_all_is_done_only_delays_the_end(
    tmp_path: Path, images: Path, tiny_weights: Path, undisturbed: str
) -> None:
    config = config_of(images, tiny_weights, tmp_path / "run")
    answer, seconds = struck(config, "gcs_server", signal.SIGSTOP, at=20)
    assert answer.result()["digest"] == undisturbed
    assert seconds < A_MINUTE_S


@pytest.mark.slow
def test_a_ray_that_dies_each_time_is_the_reason_of_exit_3(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    config = config_of(images, tiny_weights, tmp_path / "run")
    killed: list[int] = []

    def kill_next(driver: Running) -> bool:
        pid = find(driver, "raylet")
        if pid is None or pid in killed or not actors_below(driver.pid):
            return False  # Ray or its worker has still to start
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
        return True

    with started(*command(config)) as driver:
        for _ in range(3):
            driver.wait_until(lambda: kill_next(driver))
        last_at = time.monotonic()
        answer = driver.finish()
        seconds = time.monotonic() - last_at
    assert answer.code == INCOMPLETE
    assert answer.error.startswith("Ray's raylet was ended by SIGKILL, and so 3 times in a row")
    assert seconds < A_MINUTE_S


FUNCTION = """
import os, signal, sys, threading
from fcos_core.errors import IncompleteRunError
from jobs.detect import run
from jobs.settings.detect import DetectConfig
from tests.commands import num_committed
from tests.processes import actors_below, children_below, wait_until

config = DetectConfig.model_validate_json(sys.argv[1])

def strike():
    wait_until(lambda: num_committed(config.out) >= 1)
    (pid,) = (pid for pid, line in children_below(os.getpid()).items() if sys.argv[2] in line)
    os.kill(pid, getattr(signal, sys.argv[3]))

threading.Thread(target=strike).start()
try:
    run(config)
except IncompleteRunError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_function_that_loses_its_ray_raises_and_its_process_lives(
    tmp_path: Path, images: Path, tiny_weights: Path, name: str
) -> None:
    config = config_of(images, tiny_weights, tmp_path / "run")
    answer = run_python("-c", FUNCTION, config.model_dump_json(), PROCESSES[name], "SIGKILL")
    assert answer.code == 0, answer.stderr
    assert answer.stdout == f"Ray's {name} was ended by SIGKILL\n"


JOINED = """
import sys, time
from jobs.parallel.guard import guarded
from jobs.parallel.ray_session import connected

def command():
    with connected(sys.argv[1]):
        print("connected", file=sys.stderr, flush=True)
        time.sleep(300)
    return 0

sys.exit(guarded(command))
"""


@pytest.mark.slow
def test_rays_own_end_of_the_process_is_told_from_a_bug() -> None:
    quick = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}  # instead of 60
    with (
        running_nodes(1, cpus_each=1, environment=cluster_environment() | quick) as nodes,
        started_python("-c", JOINED, nodes.address, environment=nodes.environment) as joined,
    ):
        assert joined.process.stderr is not None
        assert joined.process.stderr.readline() == "connected\n"
        nodes.kill_head()
        answer = joined.finish(A_MINUTE_S)
    assert "IncompleteRunError: Ray has ended the command" in answer.stderr
