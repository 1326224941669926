"""Damaged files of a run through every command that reads one: found, named, never read past."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs.settings.detect import DetectConfig
from tests.commands import CANNOT_WORK, DONE, INCOMPLETE
from tests.fuzz.conftest import SEED, cases
from tests.fuzz.finished import finish, finish_six_images
from tests.fuzz.in_process import fcos, require_sound
from tests.fuzz.json_documents import change
from tests.fuzz.mutations import mutate

Command = Callable[[Path], tuple[object, ...]]


def detecting(place: Path) -> tuple[object, ...]:
    weights = ("--weights", place / "tiny.safetensors")
    return "detect", place / "images", "--out", place / "run", *weights


PROVING: dict[str, Command] = {
    "verify": lambda place: ("verify", place / "run"),
    "detect": detecting,
    "detect again": lambda place: (*detecting(place), "--retry-quarantined"),
}
READING: dict[str, Command] = {
    "evaluate": lambda place: (
        *("evaluate", place / "run", "--annotations", place / "truth.json"),
        *("--num-actors", 1),
    ),
    "report": lambda place: ("report", place / "run"),
}
PLANNED: dict[str, Command] = {
    "bpr": lambda place: (
        *("bpr", place / "truth.json", "--run", place / "run", "--num-actors", 1),
    ),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """A run of six images in three shards, one of which was quarantined and then recovered."""
    place = finish_six_images(tmp_path_factory.mktemp("finished"), tiny_weights)
    for command in (PROVING | READING | PLANNED).values():
        assert fcos(*command(place)).code == DONE
    return place


@pytest.fixture
def place(finished: Path) -> Path:
    """The same; what a test damages in it, it must put right."""
    return finished


SHARDS = ("detections/000000/shard-000001.parquet", "retries/1/000000/shard-000001.parquet")
MANIFEST = ("manifest/index-000000.parquet", "manifest/part-000000-*.parquet")


def damage(
    file: Path, count: int, make: Callable[[np.random.Generator], bytes], check: Callable[[], None]
) -> None:
    """Check so many damaged versions of a file, and put the sound one back."""
    sound = file.read_bytes()
    try:
        for number in range(count):
            data = make(np.random.default_rng([SEED, number]))
            if data == sound:
                continue
            file.write_bytes(data)
            try:
                check()
            except BaseException as error:
                error.add_note(f"case {number} of seed {SEED}: {data[:2000]!r}")
                raise
    finally:
        file.write_bytes(sound)


@cases(few=5, many=1_000)
@pytest.mark.parametrize("command", PROVING | READING)
@pytest.mark.parametrize("name", SHARDS)
def test_a_damaged_shard_is_named_by_whatever_reads_it(
    count: int, name: str, command: str, place: Path
):
    file = place / "run" / name
    sound = file.read_bytes()
    donors = [path.read_bytes() for path in (place / "run").rglob("*.parquet")]

    def check() -> None:
        answer = fcos(*(PROVING | READING)[command](place))
        require_sound(answer)
        if command == "report" and answer.code == DONE:
            # A sound file in another's place, such as that of a retry: rows are missing.
            page = Path(answer.result()["report"]).read_text()
            assert "Incomplete: " in page or "Not proved complete" in page
            return
        assert answer.code in {CANNOT_WORK, INCOMPLETE}
        assert answer.code == INCOMPLETE or command in {"report", "detect again"}
        assert str(file) in answer.error

    damage(file, count, lambda random: mutate(sound, donors, random), check)


@cases(few=5, many=1_000)
@pytest.mark.parametrize("command", PROVING | READING | PLANNED)
@pytest.mark.parametrize("name", MANIFEST)
def test_a_damaged_manifest_is_named_and_nothing_is_done(
    count: int, name: str, command: str, place: Path
):
    (file,) = (place / "run").glob(name)
    sound = file.read_bytes()
    donors = [path.read_bytes() for path in (place / "run").rglob("*.parquet")]

    def check() -> None:
        answer = fcos(*(PROVING | READING | PLANNED)[command](place))
        require_sound(answer)
        assert answer.code == CANNOT_WORK
        assert str(file) in answer.error

    damage(file, count, lambda random: mutate(sound, donors, random), check)


@cases(few=6, many=1_000)
@pytest.mark.parametrize("command", PROVING | READING | PLANNED)
def test_a_changed_record_is_named_or_says_what_it_said(count: int, command: str, place: Path):
    file = place / "run" / "run.json"
    sound = file.read_bytes()
    document = json.loads(sound)
    said = {key: value for key, value in document.items() if key != "sha256"}

    def make(random: np.random.Generator) -> bytes:
        return change(document, random) if random.random() < 0.5 else mutate(sound, [sound], random)

    def check() -> None:
        answer = fcos(*(PROVING | READING | PLANNED)[command](place))
        require_sound(answer)
        if answer.code == DONE:
            now = json.loads(file.read_bytes())
            seal = now.pop("sha256", None)
            assert now == said
            assert seal == document["sha256"]
        else:
            assert str(file) in answer.error

    damage(file, count, make, check)


@pytest.mark.parametrize("retried", [False, True])
def test_a_shard_of_another_run_of_the_same_images_is_named(
    *, retried: bool, place: Path, tmp_path: Path, tiny_weights: Path
):
    config = DetectConfig(
        inputs=(str(place / "images"),),
        out=str(tmp_path / "other"),
        weights=str(tiny_weights),
        shard_size=2,
        batch_size=1,
        threads_per_actor=1,
    )
    finish(config)
    shutil.copytree(place / "run", tmp_path / "run")
    name = "shard-000001.parquet"
    target = tmp_path / "run" / ("retries/1" if retried else "detections") / "000000" / name
    shutil.copy(tmp_path / "other" / "detections" / "000000" / name, target)
    answer = fcos("verify", tmp_path / "run")
    assert answer.code == INCOMPLETE
    assert f"{str(target)!r}: foreign: it is of run" in answer.error
