"""A driver that is killed while it tries quarantined items again: nothing it recovered is lost."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.settings.detect import DetectConfig
from tests.commands import fcos, started
from tests.fuzz.finished import finish
from tests.jobs.tiny_model import save_tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_IMAGES = 120


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Sound images in one folder, the same names with nothing in them in another."""
    pixels = np.random.default_rng(3)
    for name in ("sound", "images"):
        (tmp_path / name).mkdir()
    for i in range(NUM_IMAGES):
        image = cv2.GaussianBlur(pixels.integers(0, 256, (48, 64, 3), np.uint8), (7, 7), 2)
        assert cv2.imwrite(str(tmp_path / "sound" / f"{i:03d}.png"), image)
        (tmp_path / "images" / f"{i:03d}.png").write_bytes(b"")
    save_tiny(tmp_path)
    return tmp_path


def config_of(place: Path, out: str) -> DetectConfig:
    return DetectConfig(
        inputs=(str(place / "images"),),
        out=str(place / out),
        weights=str(next(place.glob("tiny*"))),
        shard_size=2,
        batch_size=2,
        threads_per_actor=1,
    )


def retry_of(config: DetectConfig) -> list[str]:
    return [
        *("detect", config.inputs[0], "--out", config.out, "--weights", config.weights),
        *("--shard-size", "2", "--batch-size", "2", "--threads-per-actor", "1"),
        *("--num-actors", "1", "--retry-quarantined"),
    ]


def test_the_next_attempt_takes_what_a_killed_one_had_not_recovered(place: Path):
    config = config_of(place, "run")
    finish(config)
    run = RunDirectory(config.out)
    assert prove(run).quarantined == NUM_IMAGES
    shutil.copytree(place / "sound", place / "images", dirs_exist_ok=True)

    def recovered() -> list[Path]:
        return sorted((place / "run" / "retries" / "1").rglob("shard-*.parquet"))

    with started(*retry_of(config)) as driver:
        driver.wait_until(lambda: len(recovered()) >= 3)
        driver.kill()
    first = {path: path.read_bytes() for path in recovered()}
    assert 3 <= len(first) < NUM_IMAGES // 2
    between = prove(run)
    assert between.complete
    assert between.ok >= 2 * len(first)

    summary = fcos(*retry_of(config)).result()
    assert (summary["ok"], summary["quarantined"], summary["attempt"]) == (NUM_IMAGES, 0, 2)
    assert summary["items_retried"] == summary["items_recovered"]
    assert {path: path.read_bytes() for path in first} == first
    finish(config_of(place, "undisturbed"))
    assert summary["digest"] == prove(RunDirectory(str(place / "undisturbed"))).digest
