"""``fcos train`` with workers on a Ray of its own: interrupted, it leaves nothing running."""

import os
import signal
import time
from pathlib import Path

import pytest

from jobs.synthetic import generate
from jobs.training.state import saved_step
from tests.jobs.training.small import small_settings
from tests.jobs.training.test_resume import TIMEOUT_S, start, wait_for_step
from tests.processes import children_below

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_an_interrupted_training_ends_its_workers_and_goes_on_with_another_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = generate(tmp_path / "shapes", num_images=8, seed=1)
    home, out = tmp_path / "home", tmp_path / "out"
    monkeypatch.setenv("HOME", str(home))
    frozen = {"backbone_norm": "frozen", "steps": 3000, "checkpoint_every": 5}
    training = start(small_settings(dataset, out, num_workers=2, **frozen), tmp_path)
    wait_for_step(training, out, 8)
    descendants = children_below(training.pid)
    assert sum("RayTrainWorker" in name for name in descendants.values()) == 2
    os.killpg(training.pid, signal.SIGINT)  # as a terminal does: Ray's processes get it as well
    stdout, err = training.communicate(timeout=TIMEOUT_S)
    assert training.returncode == 130, err
    assert stdout == ""
    assert "Traceback" not in err
    give_up_at = time.monotonic() + TIMEOUT_S
    while any(Path(f"/proc/{pid}").exists() for pid in descendants):
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    assert not list(home.glob("*"))

    before = saved_step(str(out))
    assert before >= 5
    again = start(small_settings(dataset, out, num_workers=1, **frozen), tmp_path)
    wait_for_step(again, out, before + 20)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=TIMEOUT_S)
    assert again.returncode == 130
    assert saved_step(str(out)) > before
