"""Trainings that are killed, interrupted and resumed, in processes of their own."""

import contextlib
import random
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fcos_core import load_checkpoint
from fcos_core.errors import CheckpointError, ConfigError
from jobs.train import TrainConfig, run
from tests.commands import INTERRUPTED, Running, started
from tests.jobs.training.small import small_settings, small_training


@contextlib.contextmanager
def started_training(settings: dict, folder: Path) -> Generator[Running]:
    """``fcos train``, as a shell starts it."""
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    with started("train", "--config", file, cwd=folder) as training:
        yield training


def wait_for_step(training: Running, out: Path, step: int) -> None:
    metrics = out / "metrics.jsonl"
    training.wait_until(lambda: metrics.is_file() and metrics.read_text().count("\n") >= step)
    assert not training.has_ended(), training.finish()


@pytest.fixture(scope="module")
def settings(dataset, tmp_path_factory) -> dict:
    """Several scales, flips, trainable batch norm, evaluation: all that could lose its state."""
    return small_settings(
        dataset,
        tmp_path_factory.mktemp("whole") / "out",
        steps=40,
        min_sizes=[64, 80, 96],
        val_annotations=str(dataset),
        val_images=str(dataset.parent / "images"),
        evaluate_every=25,
        checkpoint_every=7,
        backbone_norm="batch",
    )


@pytest.fixture(scope="module")
def whole(settings) -> Path:
    """The folder of a training without interruption."""
    assert run(TrainConfig(**settings)).last.step == 40
    return Path(settings["out"])


@pytest.mark.command
def test_a_training_resumed_after_a_kill_ends_with_the_same_bits(settings, whole, tmp_path):
    out, again = tmp_path / "out", settings | {"out": str(tmp_path / "out")}
    with started_training(again, tmp_path) as training:
        wait_for_step(training, out, random.randint(1, 30))  # noqa: S311
        training.send(signal.SIGKILL, to_group=True)
        assert training.finish().code == -signal.SIGKILL
    assert run(TrainConfig(**again)).last.step == 40
    assert (out / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    for name in ("checkpoint.safetensors", "state.safetensors"):
        expected, found = load_file(whole / name), load_file(out / name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert not list(out.glob(".tmp*"))


@pytest.mark.command
def test_an_interrupted_training_exits_with_130_and_can_be_resumed(settings, tmp_path):
    out = tmp_path / "out"
    with started_training(settings | {"out": str(out), "steps": 4000}, tmp_path) as training:
        wait_for_step(training, out, 8)
        training.send(signal.SIGTERM)
        ended = training.finish()
    assert (ended.code, ended.stdout) == (INTERRUPTED, ""), ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1] == "error: interrupted; the same command goes on from here"
    assert load_checkpoint(out / "checkpoint.safetensors").config.num_classes == 8


def test_a_finished_training_is_reported_and_other_settings_are_refused(dataset, tmp_path):
    config = small_training(dataset, tmp_path / "out", steps=3)
    first = run(config)
    written = (tmp_path / "out" / "checkpoint.safetensors").stat().st_mtime_ns
    again = run(config)
    assert again.last == first.last
    assert again.images_per_s == 0
    assert (tmp_path / "out" / "checkpoint.safetensors").stat().st_mtime_ns == written
    with pytest.raises(ConfigError, match=r"other settings \(seed: 0 in the run, 5 now\)"):
        run(config.model_copy(update={"seed": 5}))
    # The result does not depend on the number of threads or on the checkpoints.
    run(config.model_copy(update={"threads": 2, "checkpoint_every": 1}))


def test_a_second_training_in_the_same_folder_is_refused(dataset, tmp_path, monkeypatch):
    import fcntl

    from jobs.training import checkpointing

    config = small_training(dataset, tmp_path / "out", steps=2)
    run(config)
    (tmp_path / "out" / "state.safetensors").unlink()
    monkeypatch.setattr(checkpointing, "_LOCK_WAIT_S", 0.0)
    with (tmp_path / "out" / "training.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process trains in this folder"):
            run(config)


def test_a_folder_with_metrics_but_no_training_json_is_refused(dataset, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"holds a metrics.jsonl but no training.json"):
        run(small_training(dataset, tmp_path))


def test_a_training_without_a_saved_state_is_replaced(dataset, tmp_path):
    config = small_training(dataset, tmp_path / "out", steps=2)
    with pytest.raises(ConfigError, match="num_groups 7"):
        run(config.model_copy(update={"head_groups": 7}))
    assert run(config).last.step == 2


def test_a_damaged_state_is_named(dataset, tmp_path):
    config = small_training(dataset, tmp_path / "out", steps=2)
    run(config)
    state = tmp_path / "out" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state.safetensors: the training cannot be resumed"):
        run(config)
