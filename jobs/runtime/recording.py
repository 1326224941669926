"""Writes ``run.json``: how a run is done, for people and for the jobs that read it later."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fcos_core import load_checkpoint
from jobs.runtime.resolving import DEVICE_MODEL, PROJECT
from jobs.storage import storage_for
from jobs.tables.run_directory import INPUT_SIZE, Category, RunRecord

if TYPE_CHECKING:
    from jobs.runtime.opening import OpenRun
    from jobs.runtime.settings import DetectConfig
    from jobs.storage.weights import ResolvedWeights

_LIBRARIES = (
    PROJECT,
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "av",
    "pyarrow",
    "ray",
)
_RESOLVED_ONCE = ("batch_size", "threads_per_actor", "shard_size", "precision", "engine")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What readers of the rows must know of the model.

    Attributes:
        preset: its name.
        input_size: of the network, as ``run.json`` says it: least length of the picture's shorter
            side and limit of its longer one, in pixels.
        categories: by label.
    """

    preset: str
    input_size: Mapping[str, int]
    categories: tuple[Category, ...]


def read_model_card(weights: ResolvedWeights) -> ModelCard:
    """Load a checkpoint to see that it can be loaded, and what is in it."""
    model = load_checkpoint(weights.path)
    return ModelCard(
        preset=model.config.preset,
        input_size={name: getattr(model.config.input, name) for name in INPUT_SIZE},
        categories=tuple(Category(id=c.id, name=c.name) for c in model.categories),
    )


def record(opened: OpenRun, config: DetectConfig, weights: ResolvedWeights) -> None:
    """Write ``run.json`` unless it is there: a driver may have been killed before it could."""
    directory = opened.directory
    if storage_for(directory.uri).stat(directory.run_uri) is not None:
        return
    card = read_model_card(weights)
    directory.create_run_record(
        RunRecord(
            run_id=opened.run_id,
            fingerprint=opened.fingerprint,
            fingerprint_fields=dict(opened.fields),
            config=config.model_dump(mode="json"),
            versions={
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in _LIBRARIES},
            },
            weights_sha256=weights.sha256,
            preset=card.preset,
            categories=card.categories,
            device=opened.fields[DEVICE_MODEL],
            settings={
                **{name: opened.fields[name] for name in _RESOLVED_ONCE},
                **card.input_size,
            },
            created_at=datetime.now(UTC),
            input_annotations=opened.annotations,
        )
    )
