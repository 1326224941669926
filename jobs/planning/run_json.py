"""Writes ``run.json``: how a run is done, for people and for the jobs that read it later."""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.planning.defaults import DEVICE_MODEL, PROJECT
from jobs.planning.model_card import read_model_card
from jobs.rundir.directory import RunRecord
from jobs.storage import storage_for

if TYPE_CHECKING:
    from jobs.planning.begin import OpenRun
    from jobs.settings.detect import DetectConfig
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
