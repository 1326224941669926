"""``training.json``: what a folder's training is; created once, and the same command resumes it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fcos_core.errors import ConfigError, StorageError
from jobs.rundir.fingerprint import explain_difference
from jobs.settings.train import TrainConfig
from jobs.storage import absolute, join, storage_for
from jobs.training.data import TrainingData

RECORD_NAME = "training.json"
CHECKPOINT_NAME = "checkpoint.safetensors"
METRICS_NAME = "metrics.jsonl"
STATE_NAME = "state.safetensors"
TENSORBOARD_NAME = "tensorboard"
_POLL_S = 0.2


def deciding_fields(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    """All that the result depends on: settings, content of the files they name, our version."""
    settings = config.deciding()
    settings.pop("weights")  # their content decides, not where they lie
    for name in ("images", "annotations", "val_images", "val_annotations"):
        if settings[name] is not None:
            settings[name] = absolute(settings[name])
    return {
        **settings,
        "annotations_sha256": data.annotations.sha256,
        "val_annotations_sha256": data.val_annotations.sha256 if data.val_annotations else None,
        "weights_sha256": data.weights.sha256 if data.weights else None,
        "version": code_version(),
    }


def code_version() -> str:
    """Of this project."""
    return version("fcos-batch")


def open_training(out: str, fields: dict[str, Any]) -> None:
    """Begin a training in a folder, or find the same one there.

    Another one is only replaced when it has kept nothing, as one that was refused for its data.

    Args:
        out: the folder; made if need be.
        fields: of :func:`deciding_fields`.

    Raises:
        ConfigError: the folder holds another training, or cannot be used.
    """
    uri, state_uri = join(absolute(out), RECORD_NAME), join(absolute(out), STATE_NAME)
    storage = storage_for(uri)
    if storage.stat(uri) is None:
        for name in (CHECKPOINT_NAME, METRICS_NAME, STATE_NAME):
            if storage.stat(join(absolute(out), name)) is not None:
                raise ConfigError(
                    f"--out {out}: holds a {name} but no {RECORD_NAME}; choose another --out"
                )
    document = {"training": fields, "made_with": {"torch": torch.__version__}}
    data = (json.dumps(document, indent=2) + "\n").encode()
    try:
        if storage.create(uri, data):
            return
    except (ConfigError, StorageError) as error:
        raise ConfigError(f"--out {out}: {error}") from error
    differences = explain_difference(read_record(out), fields)
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
    """Hold a lock that goes with the process, so that two trainings never write to one folder.

    Args:
        out: a folder with a record.
        wait_s: for somebody else to let go.

    Yields:
        Once it is held.

    Raises:
        ConfigError: somebody else keeps it.
    """
    with (out / RECORD_NAME).open("rb") as file:
        give_up_at = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= give_up_at:
                    raise ConfigError(f"--out {out}: another process trains there") from error
                time.sleep(_POLL_S)
        yield


def read_record(out: str) -> dict[str, Any]:
    """The fields of the training in a folder.

    Raises:
        ConfigError: there is none, as seen from this machine.
    """
    uri = join(absolute(out), RECORD_NAME)
    if storage_for(uri).stat(uri) is None:
        raise ConfigError(
            f"{uri} is not there; every machine that trains must see --out under the same path"
        )
    try:
        return dict(json.loads(storage_for(uri).read(uri))["training"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{uri}: is no record of a training: {error}") from error
