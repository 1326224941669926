"""Real processes that create the same files at the same time, and are killed meanwhile."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from jobs.storage import TEMPORARY_PREFIX
from jobs.storage.local import LocalStorage

NUM_RACERS = 4
NUM_FILES = 12
NUM_KILLS = 8


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jobs.storage"])
    return context


def content_of(racer: int, number: int) -> bytes:
    return f"racer {racer}, file {number};".encode() * 5000


def race(folder: str, racer: int, start: Barrier) -> None:
    storage = LocalStorage()
    won: list[int] = []
    for number in range(NUM_FILES):
        start.wait(60)
        if storage.create(f"{folder}/{number}", content_of(racer, number)):
            won.append(number)
    Path(f"{folder}.winner-{racer}").write_text(" ".join(map(str, won)))


def test_of_many_creators_exactly_one_wins(tmp_path: Path, processes: ForkServerContext):
    folder = tmp_path / "shards"
    start = processes.Barrier(NUM_RACERS)
    racers = [
        processes.Process(target=race, args=(str(folder), racer, start))
        for racer in range(NUM_RACERS)
    ]
    for process in racers:
        process.start()
    for process in racers:
        process.join(120)
        assert process.exitcode == 0
    winners = {
        int(number): racer
        for racer in range(NUM_RACERS)
        for number in Path(f"{folder}.winner-{racer}").read_text().split()
    }
    wins = sum(len(Path(f"{folder}.winner-{r}").read_text().split()) for r in range(NUM_RACERS))
    assert wins == NUM_FILES
    assert sorted(path.name for path in folder.iterdir()) == sorted(map(str, range(NUM_FILES)))
    for number, racer in winners.items():
        assert (folder / str(number)).read_bytes() == content_of(racer, number)


def create_for_ever(folder: str) -> None:
    storage = LocalStorage()
    number = 0
    while True:
        storage.create(f"{folder}/{number}", content_of(0, number))
        number += 1


def kills(folder: Path, processes: ForkServerContext) -> Iterator[float]:
    """Repeatedly start a creator and kill it at a random moment after its first file."""
    generator = np.random.default_rng(0)
    for i in range(NUM_KILLS):
        place = folder / str(i)
        process = processes.Process(target=create_for_ever, args=(str(place),))
        process.start()
        end_s = time.monotonic() + 60
        while not (place / "0").exists() and time.monotonic() < end_s:
            time.sleep(0.001)
        wait_s = generator.uniform(0, 0.03)
        time.sleep(wait_s)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        yield wait_s


def test_a_killed_creator_leaves_whole_files_and_temporary_ones(
    tmp_path: Path, processes: ForkServerContext
):
    assert len(list(kills(tmp_path, processes))) == NUM_KILLS
    whole = 0
    for path in tmp_path.rglob("*"):
        if path.is_dir() or path.name.startswith(TEMPORARY_PREFIX):
            continue
        assert path.read_bytes() == content_of(0, int(path.name))
        whole += 1
    assert whole >= NUM_KILLS
