"""While a command runs, its processes, with Ray's, can be reached from this machine only."""

import os
from pathlib import Path

import pytest

from jobs.synthetic import generate
from tests.commands import fcos
from tests.jobs.training.small import small_settings
from tests.jobs.training.test_resume import started_training
from tests.sockets import exposed_meanwhile

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("loopback") / "shapes", num_images=8, seed=1)


def test_detect_and_evaluate_listen_on_loopback_only(dataset: Path, tmp_path: Path) -> None:
    run, two = tmp_path / "run", ("--num-actors", "2")
    with exposed_meanwhile(os.getpid()) as exposed:
        images = dataset.parent / "images"
        fcos("detect", images, "--weights", "demo", "--out", run, *two).result()
        fcos("evaluate", run, "--annotations", dataset, *two).result()
    assert exposed == set()


def test_train_listens_on_loopback_only(dataset: Path, tmp_path: Path) -> None:
    settings = small_settings(dataset, tmp_path / "out", num_workers=2, steps=4)
    with (
        exposed_meanwhile(os.getpid()) as exposed,
        started_training(settings, tmp_path) as training,
    ):
        training.finish().result()
    assert exposed == set()
