"""``training.json``: the fingerprint of a training, by which the same command resumes it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

import jobs
from fcos_core.errors import ConfigError, StorageError
from jobs.rundir.fingerprint import explain_difference
from jobs.settings.train import TrainConfig
from jobs.storage import absolute, join, storage_for
from jobs.training.data import LeftOut, TrainingData

TRAINING_JSON_NAME = "training.json"
CHECKPOINT_NAME = "checkpoint.safetensors"
METRICS_NAME = "metrics.jsonl"
STATE_NAME = "state.safetensors"
TENSORBOARD_NAME = "tensorboard"
_POLL_S = 0.2


def fingerprint_fields(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    """All that the result depends on: settings, contents of the files they name, our version."""
    settings = config.deciding()
    settings.pop("weights")  # the hash of their content stands below
    for name in ("images", "annotations", "val_images", "val_annotations"):
        if settings[name] is not None:
            settings[name] = absolute(settings[name])
    return {
        **settings,
        "annotations_sha256": data.annotations.sha256,
        "val_annotations_sha256": data.val_annotations.sha256 if data.val_annotations else None,
        "weights_sha256": data.weights.sha256 if data.weights else None,
        "left_out": list(data.left_out.train),
        "val_left_out": list(data.left_out.val),
        "version": code_version(),
    }


def code_version() -> str:
    """The version of this project."""
    return jobs.__version__


def begin_or_resume(out: str, fields: dict[str, Any]) -> None:
    """Create ``training.json`` in a folder, or check that the same training is there.

    Another training is replaced only if it has saved no state, as one that stopped at its data.

    Raises:
        ConfigError: the folder holds another training, or cannot be written.
    """
    uri, state_uri = join(absolute(out), TRAINING_JSON_NAME), join(absolute(out), STATE_NAME)
    storage = storage_for(uri)
    if storage.stat(uri) is None:
        for name in (CHECKPOINT_NAME, METRICS_NAME, STATE_NAME):
            if storage.stat(join(absolute(out), name)) is not None:
                raise ConfigError(
                    f"--out {out}: holds a {name} but no {TRAINING_JSON_NAME}; choose another --out"
                )
    document = {"training": fields, "made_with": {"torch": torch.__version__}}
    data = (json.dumps(document, indent=2) + "\n").encode()
    try:
        if storage.create(uri, data):
            return
    except (ConfigError, StorageError) as error:
        raise ConfigError(f"--out {out}: {error}") from error
    differences = explain_difference(read_training_json(out), fields)
    if differences and storage.stat(state_uri) is not None:
        raise ConfigError(
            f"--out {out}: holds a training with other settings ({differences}); choose another "
            "--out, or give the same settings to resume"
        )
    if differences:
        with folder_lock(Path(absolute(out)), wait_s=0.0):
            storage.write(uri, data)


@contextlib.contextmanager
def folder_lock(out: Path, *, wait_s: float) -> Generator[None]:
    """Hold the lock of a folder with a ``training.json``: two trainings never write there.

    The system releases the lock when the process ends.

    Yields:
        When the lock is held.

    Raises:
        ConfigError: another process still holds the lock after ``wait_s``.
    """
    with (out / TRAINING_JSON_NAME).open("rb") as file:
        give_up_at = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= give_up_at:
                    raise ConfigError(
                        f"--out {out}: another process trains in this folder"
                    ) from error
                time.sleep(_POLL_S)
        yield


def read_training_json(out: str) -> dict[str, Any]:
    """The fingerprint of the training in a folder.

    Raises:
        ConfigError: this machine sees no ``training.json``, or cannot read it.
    """
    uri = join(absolute(out), TRAINING_JSON_NAME)
    if storage_for(uri).stat(uri) is None:
        raise ConfigError(
            f"{uri}: no such file; every machine that trains must see --out under the same path"
        )
    try:
        return dict(json.loads(storage_for(uri).read(uri))["training"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{uri}: does not describe a training: {error}") from error


def read_left_out(out: str) -> LeftOut:
    """The images that the training in a folder leaves out."""
    fields = read_training_json(out)
    return LeftOut(
        train=tuple(fields.get("left_out", ())), val=tuple(fields.get("val_left_out", ()))
    )
