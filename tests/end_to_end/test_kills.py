"""Drivers that are killed or interrupted: what is committed stays, and running again ends alike."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.worker.worker import Worker
from tests.jobs.tiny_model import save_tiny
from tests.jobs.worker.runs import begin_run, record_run, worker_settings
from tests.processes import actors_below, children_below

pytestmark = pytest.mark.ray

NUM_IMAGES = 160
SHARD_SIZE = 2
TIMEOUT_S = 600  # of anything: a busy machine takes a minute to start Ray
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    pixels = np.random.default_rng(3)
    for i in range(NUM_IMAGES):
        shape = ((48, 64), (64, 48), (40, 40))[i % 3]
        image = cv2.GaussianBlur(pixels.integers(0, 256, (*shape, 3), np.uint8), (7, 7), 2)
        assert cv2.imwrite(str(folder / f"{i:03d}.png"), image)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def undisturbed(tmp_path: Path, images: Path, weights: Path) -> str:
    """The digest of the same run, computed in this process from the first shard to the last."""
    run, shards = begin_run(tmp_path / "undisturbed", images, shard_size=SHARD_SIZE)
    record_run(run)
    threads = torch.get_num_threads()
    worker = Worker(worker_settings(run, weights))
    for shard in shards:
        worker.process(shard)
    worker.close()
    torch.set_num_threads(threads)
    digest = prove(run).digest
    assert digest is not None
    return digest


@pytest.fixture
def start(tmp_path: Path, images: Path, weights: Path) -> Callable[[], subprocess.Popen[str]]:
    """How the command is started, in a process group of its own, as a shell does."""
    command = [
        *(sys.executable, "-m", "jobs.cli", "detect", str(images)),
        *("--out", str(tmp_path / "run"), "--weights", str(weights)),
        *("--shard-size", str(SHARD_SIZE), "--batch-size", "2"),
        *("--threads-per-actor", "1", "--num-actors", "1"),
    ]

    def start_it() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start_it


def wait_until(is_true: Callable[[], Any]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def num_committed(tmp_path: Path) -> int:
    return len(list((tmp_path / "run" / "detections").glob("shard-*.parquet")))


def kill(driver: subprocess.Popen[str]) -> None:
    driver.kill()
    driver.communicate(timeout=TIMEOUT_S)


def finish(driver: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = driver.communicate(timeout=TIMEOUT_S)
    assert driver.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def is_gone(pid: int) -> bool:
    return pid not in children_below(1)  # everybody's last parent


@pytest.mark.slow
def test_a_killed_driver_takes_its_workers_along_and_the_next_one_ends_alike(
    tmp_path: Path, start: Callable[[], subprocess.Popen[str]], undisturbed: str
) -> None:
    driver = start()
    wait_until(lambda: num_committed(tmp_path) >= 3 or driver.poll() is not None)
    (worker,) = actors_below(driver.pid)
    kill(driver)
    committed = num_committed(tmp_path)
    assert 3 <= committed < NUM_IMAGES // SHARD_SIZE
    summary = finish(start())
    assert is_gone(worker)
    assert summary["digest"] == undisturbed
    assert (summary["planned"], summary["missing"], summary["duplicated"]) == (NUM_IMAGES, 0, 0)


@pytest.mark.slow
def test_five_kills_at_random_moments_change_no_bit(
    tmp_path: Path, start: Callable[[], subprocess.Popen[str]], undisturbed: str
) -> None:
    moments = random.Random(5)  # noqa: S311
    for _ in range(5):
        before = num_committed(tmp_path)
        aim = before + moments.randrange(10)  # with 0 it dies while Ray or the worker starts
        driver = start()
        wait_until(
            lambda driver=driver, aim=aim: (
                num_committed(tmp_path) >= aim or driver.poll() is not None
            )
        )
        time.sleep(moments.uniform(0, 0.3 if aim > before else 8))
        kill(driver)
        assert num_committed(tmp_path) >= before
    assert num_committed(tmp_path) < NUM_IMAGES // SHARD_SIZE
    assert finish(start())["digest"] == undisturbed


@pytest.mark.parametrize(
    ("number", "is_group"),
    [
        pytest.param(signal.SIGINT, True, id="ctrl_c"),
        pytest.param(signal.SIGTERM, False, id="sigterm"),
    ],
)
def test_an_interrupted_driver_exits_with_130_and_leaves_whole_shards(
    tmp_path: Path,
    start: Callable[[], subprocess.Popen[str]],
    number: signal.Signals,
    *,
    is_group: bool,
) -> None:
    driver = start()
    wait_until(lambda: num_committed(tmp_path) >= 3 or driver.poll() is not None)
    descendants = children_below(driver.pid)
    if is_group:
        os.killpg(driver.pid, number)  # as a terminal does: Ray's processes get it as well
    else:
        driver.send_signal(number)
    out, err = driver.communicate(timeout=TIMEOUT_S)
    assert driver.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: interrupted")
    assert num_committed(tmp_path) >= 3
    proof = prove(RunDirectory(str(tmp_path / "run")))
    assert proof.ok == SHARD_SIZE * num_committed(tmp_path)
    assert all("missing" in problem for problem in proof.problems)
    wait_until(lambda: all(is_gone(pid) for pid in descendants))
