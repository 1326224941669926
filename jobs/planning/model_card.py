"""What the readers of a run's rows must know of the model, read from the checkpoint's header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from fcos_core.checkpoint_header import Header, read_our_header
from fcos_core.config import ModelConfig
from fcos_core.errors import CheckpointError
from jobs.parallel.child_process import ChildCrashedError, ChildProcess
from jobs.rundir.record import INPUT_SIZE, Category
from jobs.storage import absolute
from jobs.storage.weights import resolve_weights

Answer = TypeVar("Answer")

_CHILD_LIMIT_S = 600.0  # to read a file of another format, on a slow disk

_NAMES = {"coco", "demo"}  # every machine finds them by itself


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A checkpoint, without its tensors.

    Attributes:
        uri: where workers find the file: ``coco``, ``demo``, an absolute path or a uri.
        path: the file on this machine.
        sha256: of the file, in hex.
        preset: the name of the FCOS variant.
        input_size: the network's input as ``run.json`` holds it: length of the image's shorter
            side and limit of its longer side, in pixels.
        categories: by label.
        config: of the model.
    """

    uri: str
    path: Path
    sha256: str
    preset: str
    input_size: Mapping[str, int]
    categories: tuple[Category, ...]
    config: ModelConfig


def read_model_card(spec: str) -> ModelCard:
    """Find a checkpoint, download a published one, and read its header; no network is built.

    torch is not imported here. Where the file is not in our format, a child process reads it.

    Raises:
        ConfigError: there is no such checkpoint, or it cannot be fetched.
        CheckpointError: the file is no checkpoint of FCOS.
    """
    weights = resolve_weights(spec)
    header = read_our_header(weights.path) or _ask_child(_read_any_header, weights.path)
    return ModelCard(
        uri=spec if spec in _NAMES else absolute(spec),
        path=weights.path,
        sha256=weights.sha256,
        preset=header.config.preset,
        input_size={name: getattr(header.config.input, name) for name in INPUT_SIZE},
        categories=tuple(Category(id=c.id, name=c.name) for c in header.categories),
        config=header.config,
    )


def require_loadable(model: ModelCard) -> None:
    """Refuse a checkpoint that no worker can load; a child process loads it, once per content.

    Raises:
        CheckpointError: the weights do not fit their configuration, or are not finite.
    """
    _require_loadable(model.path, model.sha256)


@cache
def _require_loadable(path: Path, sha256: str) -> None:
    del sha256  # another content is another question
    _ask_child(_load, path)


def _ask_child(function: Callable[[Path], Answer], path: Path) -> Answer:
    with ChildProcess(function) as child:
        try:
            return child.call(path, limit_s=_CHILD_LIMIT_S)
        except ChildCrashedError as error:
            raise CheckpointError(
                f"checkpoint {path}: the process that reads it has failed: {error}"
            ) from error


def _read_any_header(path: Path) -> Header:
    from fcos_core.checkpoint import read_header

    return read_header(path)


def _load(path: Path) -> None:
    from fcos_core.checkpoint import load_checkpoint

    load_checkpoint(path)
