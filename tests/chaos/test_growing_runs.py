"""Runs that grow, by several drivers, releases and parts: real commands with Ray, some killed."""

import contextlib
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

import jobs.detect as detect_module
from fcos_core.numerics import NUMERICS_VERSION
from jobs.detect import DetectConfig
from jobs.rundir.directory import RunDirectory
from tests.commands import ROOT, fcos, num_committed, started
from tests.jobs.dispatch.here import dispatch_here
from tests.jobs.growing import (
    begin_in_parts,
    changed,
    command_of,
    config_of,
    detected,
    files_of,
    grow,
    write_first,
)
from tests.processes import actors_below

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_MANY = 80


@pytest.fixture(autouse=True)
def _calm_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed in this process is the undisturbed run."""
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)


@pytest.fixture
def many(tiny_weights: Path, tmp_path: Path) -> DetectConfig:
    """The command of a run of 40 shards."""
    folder = write_first(tmp_path / "images", NUM_MANY)
    return config_of(folder, tiny_weights, tmp_path / "run", shard_size=2)


def calm(config: DetectConfig, tmp_path: Path) -> str:
    digest = detected(config, out=str(tmp_path / "calm")).proof.digest
    assert digest is not None
    return digest


def test_an_extension_whose_driver_and_worker_are_killed_between_shards_ends_alike(
    tiny_weights: Path, tmp_path: Path
) -> None:
    folder = write_first(tmp_path / "images")
    config = config_of(folder, tiny_weights, tmp_path / "run", shard_size=1)
    for out in ("run", "calm"):
        detected(config, out=str(tmp_path / out))
    grow(folder)
    expected = detected(config, out=str(tmp_path / "calm"), extend=True).proof.digest
    before = files_of(config.out)
    with started(*command_of(config, "--extend")) as driver:
        driver.wait_until(lambda: num_committed(config.out) >= 13)
        for pid in actors_below(driver.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        driver.wait_until(lambda: num_committed(config.out) >= 14)
        driver.kill()
    with contextlib.ExitStack() as stack:  # the next ones come in pairs
        words = command_of(config, "--extend")
        drivers = [stack.enter_context(started(*words)) for _ in range(2)]
        results = [driver.finish().result() for driver in drivers]
    assert {result["digest"] for result in results} == {expected}
    assert [result["inputs_new"] for result in results] == [0, 0]
    assert before.items() <= files_of(config.out).items()
    assert fcos("verify", config.out, "--inputs").result()["digest"] == expected


def test_four_ranged_drivers_fill_one_run_although_two_are_killed(
    many: DetectConfig, tmp_path: Path
) -> None:
    moments = random.Random(4)  # noqa: S311 -- no security
    ranges = ["0-9", "10-19", "20-29", "30-39"]
    commands = {shards: command_of(many, "--shards", shards) for shards in ranges}

    def committed(shards: str) -> int:
        first, last = map(int, shards.split("-"))
        numbers = RunDirectory(many.out).list_shards().shards
        return int(((numbers >= first) & (numbers <= last)).sum())

    with contextlib.ExitStack() as stack:
        drivers = {
            shards: stack.enter_context(started(*words)) for shards, words in commands.items()
        }
        for shards in ranges[1:3]:
            drivers[shards].wait_until(lambda shards=shards: committed(shards) >= 1)
            time.sleep(moments.uniform(0, 0.2))
            drivers[shards].kill()
        for shards in (ranges[0], ranges[3]):
            result = drivers[shards].finish().result()
            assert (result["planned"], result["missing"], result["digest"]) == (20, 0, None)
    with contextlib.ExitStack() as stack:
        again = [ranges[1], ranges[1], ranges[2]]
        drivers = [stack.enter_context(started(*commands[shards])) for shards in again]
        results = [driver.finish().result() for driver in drivers]
    assert [result["missing"] for result in results] == [0, 0, 0]
    verified = fcos("verify", many.out).result()
    assert verified["digest"] == calm(many, tmp_path)
    assert (verified["planned"], verified["duplicated"]) == (NUM_MANY, 0)


def test_workers_that_die_change_no_bit_of_a_run_of_many_parts(
    many: DetectConfig, tmp_path: Path
) -> None:
    expected = calm(many, tmp_path)
    begin_in_parts(many)
    assert len(RunDirectory(many.out).manifest().parts) == 10
    with started(*command_of(changed(many, num_actors=2))) as driver:
        for count in (3, 12, 25):
            driver.wait_until(lambda count=count: num_committed(many.out) >= count)
            for pid in actors_below(driver.pid)[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        result = driver.finish().result()
    assert (result["digest"], result["missing"]) == (expected, 0)


@pytest.fixture
def release(tmp_path: Path) -> str:
    """PYTHONPATH of another release, whose arithmetic is the same."""
    place = tmp_path / "release"
    for package in ("cluster", "fcos_core", "jobs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, place / package, ignore=ignored)
    rewrite(place / "jobs" / "__init__.py", r'__version__ = ".*"', '__version__ = "99.0.0"')
    return str(place)


def rewrite(path: Path, pattern: str, text: str) -> None:
    found, count = re.subn(pattern, text, path.read_text())
    assert count == 1
    path.write_text(found)


def test_another_release_goes_on_with_a_run_whose_driver_was_killed(
    many: DetectConfig, tmp_path: Path, release: str
) -> None:
    with started(*command_of(many)) as driver:
        driver.wait_until(lambda: num_committed(many.out) >= 5)
        driver.kill()
    left = NUM_MANY // 2 - num_committed(many.out)
    assert left > 0
    words = command_of(many)
    assert fcos("--version", environment={"PYTHONPATH": release}).stdout.strip().endswith("99.0.0")
    result = fcos(*words, environment={"PYTHONPATH": release}).result()
    assert (result["digest"], result["digest_class"]) == (calm(many, tmp_path), "exact")


def test_a_release_of_other_arithmetic_goes_on_only_if_that_is_allowed(
    many: DetectConfig, release: str
) -> None:
    rewrite(
        Path(release, "fcos_core", "numerics.py"),
        rf"NUMERICS_VERSION = {NUMERICS_VERSION}\b",
        f"NUMERICS_VERSION = {NUMERICS_VERSION + 1}",
    )
    detected(many, shards="0-9")
    words, environment = command_of(many), {"PYTHONPATH": release}
    answer = fcos(*words, environment=environment)
    assert (answer.code, answer.stdout) == (2, "")
    assert "or --allow-version-change for rows that differ" in answer.error
    assert num_committed(many.out) == 10
    result = fcos(*words, "--allow-version-change", environment=environment).result()
    assert (result["digest_class"], result["missing"]) == ("tolerance", 0)
    assert fcos("verify", many.out).result()["digest_class"] == "tolerance"
