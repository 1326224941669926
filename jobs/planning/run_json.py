"""Write ``run.json``: how a run is done, for people and for the jobs that read it later."""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import UTC, datetime

import jobs
from jobs.parallel.libraries import installed_libraries
from jobs.planning.begin import OpenRun
from jobs.planning.defaults import DEVICE_MODEL
from jobs.planning.model_card import ModelCard
from jobs.rundir.record import RunRecord
from jobs.rundir.schemas import SCHEMA_VERSION
from jobs.settings.detect import DetectConfig
from jobs.storage import storage_for

_OTHER_LIBRARIES = ("pyarrow", "ray")
_RESOLVED_ONCE = ("batch_size", "threads_per_actor", "shard_size", "precision", "engine")


def write_run_json(run: OpenRun, config: DetectConfig, model: ModelCard) -> None:
    """Write ``run.json`` unless it exists: a driver may have been killed before it could."""
    directory = run.directory
    if run.manifest.schema_version != SCHEMA_VERSION:  # only the version that began it resumes it
        return
    if storage_for(directory.uri).stat(directory.run_uri) is not None:
        return
    directory.create_run_record(
        RunRecord(
            run_id=run.run_id,
            fingerprint=run.fingerprint,
            fingerprint_fields=dict(run.fields),
            config=config.model_dump(mode="json"),
            versions={
                "python": platform.python_version(),
                "fcos-batch": jobs.__version__,
                **installed_libraries(),
                **{name: importlib.metadata.version(name) for name in _OTHER_LIBRARIES},
            },
            weights_sha256=model.sha256,
            preset=model.preset,
            categories=model.categories,
            device=run.fields[DEVICE_MODEL],
            settings={
                **{name: run.fields[name] for name in _RESOLVED_ONCE},
                **model.input_size,
            },
            created_at=datetime.now(UTC),
            input_annotations=run.annotations,
        )
    )
