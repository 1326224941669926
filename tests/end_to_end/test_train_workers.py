"""``fcos train`` with workers on a Ray of its own: interrupted, it leaves nothing running."""

import signal
from pathlib import Path

import pytest

from jobs.synthetic import generate
from jobs.training.state import saved_step
from tests.commands import INTERRUPTED
from tests.jobs.training.small import small_settings
from tests.jobs.training.test_resume import started_training, wait_for_step
from tests.processes import children_below, is_gone, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_an_interrupted_training_ends_its_workers_and_goes_on_with_another_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = generate(tmp_path / "shapes", num_images=8, seed=1)
    home, out = tmp_path / "home", tmp_path / "out"
    monkeypatch.setenv("HOME", str(home))
    frozen = {"backbone_norm": "frozen", "steps": 3000, "checkpoint_every": 5}
    with started_training(
        small_settings(dataset, out, num_workers=2, **frozen), tmp_path
    ) as training:
        wait_for_step(training, out, 8)
        descendants = children_below(training.pid)
        assert sum("RayTrainWorker" in name for name in descendants.values()) == 2
        training.send(signal.SIGINT, to_group=True)  # Ray's processes get it as well
        ended = training.finish()
    assert (ended.code, ended.stdout) == (INTERRUPTED, ""), ended.stderr
    assert "Traceback" not in ended.stderr
    wait_until(lambda: all(is_gone(pid) for pid in descendants))
    assert not list(home.glob("*"))

    before = saved_step(str(out))
    assert before >= 5
    with started_training(small_settings(dataset, out, num_workers=1, **frozen), tmp_path) as again:
        wait_for_step(again, out, before + 20)
        again.send(signal.SIGTERM)
        assert again.finish().code == INTERRUPTED
    assert saved_step(str(out)) > before
