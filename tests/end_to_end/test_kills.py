"""Killed and interrupted runs over videos and images, resumed: no frame is lost or doubled.

Drivers and workers die at any moment: the digest stays that of an undisturbed run.
"""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.rundir.rows import table_to_rows
from jobs.rundir.shard_reading import iterate_rows
from jobs.settings.detect import DetectConfig
from tests.commands import INTERRUPTED, Running, fcos, num_committed, started
from tests.fuzz.finished import finish
from tests.jobs.media.video.making import RECIPES, write_audio, write_derived, write_video
from tests.processes import actors_below, children_below, is_gone, wait_until

pytestmark = pytest.mark.ray

LONG = "long_gop_250"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos, a damaged one, and images."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("b_frames", "vp9"):
        recipe = RECIPES[name]
        write_video(folder, replace(recipe, name=f"{name}-{recipe.name}"))
    data = (folder / "b_frames-clip.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    write_images(folder, 6)
    return folder


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """All real videos and one of every awkward kind, with images between them."""
    folder = tmp_path_factory.mktemp("everything")
    for path in (shared_data / "video").iterdir():
        shutil.copy(path, folder / f"real-{path.name}")
    for name in RECIPES.keys() - {LONG}:
        (folder / name).mkdir()
        write_video(folder / name, RECIPES[name])
    (folder / "derived").mkdir()
    write_derived(folder / "derived")
    write_audio(folder)
    (folder / "empty.webm").write_bytes(b"")
    write_images(folder, 6)
    return folder


def write_images(folder: Path, count: int) -> None:
    pixels = np.random.default_rng(3)
    for i in range(count):
        image = cv2.GaussianBlur(pixels.integers(0, 256, (48, 64, 3), np.uint8), (7, 7), 2)
        assert cv2.imwrite(str(folder / f"{i}.png"), image)


def config_of(inputs: Path, weights: Path, out: Path, **changes: Any) -> DetectConfig:
    settings: dict[str, Any] = {"shard_size": 16, "batch_size": 2, "threads_per_actor": 1}
    return DetectConfig(
        inputs=(str(inputs),), out=str(out), weights=str(weights), **(settings | changes)
    )


def undisturbed(config: DetectConfig) -> str:
    """The digest of a run that is computed in this process, from the first shard to the last."""
    finish(config)
    proof = prove(RunDirectory(config.out))
    assert proof.complete, proof.problems
    assert proof.digest is not None
    return proof.digest


@pytest.fixture(scope="module")
def expected(
    everything: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, Any]], str]:
    """The digests of undisturbed runs over everything, by their sampling; each computed once."""
    known: dict[str, str] = {}

    def digest(settings: dict[str, Any]) -> str:
        name = repr(settings)
        if name not in known:
            out = tmp_path_factory.mktemp("undisturbed") / "run"
            known[name] = undisturbed(config_of(everything, tiny_weights, out, **settings))
        return known[name]

    return digest


def command(config: DetectConfig, num_actors: int, *options: str) -> list[str]:
    return [
        *("detect", *config.inputs, "--out", config.out, "--weights", config.weights),
        *("--shard-size", str(config.shard_size), "--batch-size", str(config.batch_size)),
        *("--threads-per-actor", "1", "--num-actors", str(num_actors), *options),
    ]


def kill_worker(driver: Running, moments: random.Random) -> None:
    """Kill one of the workers, if there is any."""
    workers = actors_below(driver.pid)
    if workers:
        with contextlib.suppress(ProcessLookupError):  # it was done
            os.kill(moments.choice(workers), signal.SIGKILL)


def num_planned(config: DetectConfig) -> int:
    return sum(1 for _ in RunDirectory(config.out).manifest().iterate())


def test_a_killed_driver_takes_its_workers_along_and_the_next_one_ends_alike(
    tmp_path: Path, few: Path, tiny_weights: Path
) -> None:
    config = config_of(few, tiny_weights, tmp_path / "run", shard_size=4)
    expected = undisturbed(config_of(few, tiny_weights, tmp_path / "undisturbed", shard_size=4))
    with started(*command(config, 1)) as driver:
        driver.wait_until(lambda: num_committed(config.out) >= 2)
        (worker,) = actors_below(driver.pid)
        driver.kill()
    assert 2 <= num_committed(config.out) < num_planned(config)
    summary = fcos(*command(config, 1)).result()
    assert is_gone(worker)
    assert summary["digest"] == expected
    assert (summary["missing"], summary["duplicated"]) == (0, 0)
    assert fcos("verify", config.out).result()["digest"] == expected


def test_ctrl_c_exits_with_130_and_leaves_whole_shards_and_no_process(
    tmp_path: Path, few: Path, tiny_weights: Path
) -> None:
    config = config_of(few, tiny_weights, tmp_path / "run", shard_size=4)
    with started(*command(config, 1)) as driver:
        driver.wait_until(lambda: num_committed(config.out) >= 2)
        descendants = children_below(driver.pid)
        driver.send(signal.SIGINT, to_group=True)  # Ray's processes get it as well
        answer = driver.finish()
    assert (answer.code, answer.stdout) == (INTERRUPTED, ""), answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("error: interrupted")
    assert 2 <= num_committed(config.out) < num_planned(config)
    proof = prove(RunDirectory(config.out))
    assert len(proof.problems) == num_planned(config) - num_committed(config.out)
    assert all("missing" in problem for problem in proof.problems)
    wait_until(lambda: all(is_gone(pid) for pid in descendants))


SAMPLINGS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("all", {}, ()),
    ("every 7th", {"every_n_frames": 7}, ("--every-n-frames", "7")),
    ("3.5 fps", {"fps": 3.5}, ("--fps", "3.5")),
]


@pytest.mark.slow
@pytest.mark.parametrize("num_actors", [1, 2])
@pytest.mark.parametrize(
    ("settings", "options"), [pytest.param(a, b, id=name) for name, a, b in SAMPLINGS]
)
def test_kills_at_random_moments_of_a_run_over_every_video_change_no_bit(
    tmp_path: Path,
    everything: Path,
    tiny_weights: Path,
    expected: Callable[[dict[str, Any]], str],
    settings: dict[str, Any],
    options: tuple[str, ...],
    num_actors: int,
) -> None:
    moments = random.Random(f"{options} {num_actors}")  # noqa: S311
    config = config_of(everything, tiny_weights, tmp_path / "run", **settings)
    for _ in range(3):
        before = num_committed(config.out)
        aim = before + moments.randrange(12)  # with 0 it dies while Ray or the workers start
        with started(*command(config, num_actors, *options)) as driver:
            driver.wait_until(lambda aim=aim: num_committed(config.out) >= aim)
            kill_worker(driver, moments)
            time.sleep(moments.uniform(0, 8))
            driver.kill()
        assert num_committed(config.out) >= before
    summary = fcos(*command(config, num_actors, *options)).result()
    assert summary["digest"] == expected(settings)
    assert fcos("verify", config.out).result()["digest"] == expected(settings)


@pytest.mark.slow
def test_the_size_of_shards_changes_no_row_of_any_video(
    tmp_path: Path, everything: Path, tiny_weights: Path
) -> None:
    found: list[list[tuple[object, ...]]] = []
    for shard_size in (5, 64):
        out = tmp_path / str(shard_size)
        # In a batch of one, an image's numbers do not depend on who is beside it.
        undisturbed(config_of(everything, tiny_weights, out, shard_size=shard_size, batch_size=1))
        found.append(all_rows(RunDirectory(str(out))))
    assert found[0] == found[1]


def all_rows(run: RunDirectory) -> list[tuple[object, ...]]:
    """All that does not say which item a row is of."""
    return sorted(
        (
            *(row.image_id, row.uri, row.frame_index, row.last_frame, row.timestamp_s),
            *(row.width, row.height, row.status, row.error_class, row.error),
            *(row.boxes.tobytes(), row.scores.tobytes(), row.category_ids.tobytes()),
        )
        for table in iterate_rows(run)
        for row in table_to_rows(table)
    )
