"""A run whose manifest is written by hand, for tests of the worker."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fcos_core.numerics import NUMERICS_VERSION
from jobs.inputs.sources import enumerate_inputs
from jobs.parallel.devices import device_model
from jobs.parallel.libraries import installed_libraries, libraries_of
from jobs.planning.manifest import make_manifest
from jobs.rundir.directory import RunDirectory
from jobs.rundir.record import Category, RunRecord
from jobs.rundir.rows import Row, items_to_table, table_to_rows
from jobs.rundir.shard import Shard
from jobs.rundir.shard_reading import read_shard
from jobs.worker.messages import WorkerSettings

RUN_ID = "run-of-a-test"


def begin_run(
    out: Path | str, images: Path | str, *, shard_size: int
) -> tuple[RunDirectory, list[Shard]]:
    """Write a manifest of all images in a folder."""
    run = RunDirectory(str(out))
    items = make_manifest(enumerate_inputs([str(images)]), shard_size)
    assert run.create_manifest(items_to_table(items), {"run_id": RUN_ID, "fingerprint": "0"})
    return run, [Shard(number, tuple(group)) for number, group in run.manifest().iterate()]


def record_run(run: RunDirectory) -> None:
    """Write a ``run.json`` for a run."""
    record = RunRecord(
        run_id=RUN_ID,
        fingerprint="0",
        fingerprint_fields={},
        config={},
        versions={},
        weights_sha256="0",
        preset="improved",
        categories=tuple(Category(id=id_, name=f"thing_{id_}") for id_ in (3, 7, 11)),
        device="cpu",
        created_at=datetime.now(UTC),
    )
    assert run.create_run_record(record)


def worker_settings(run: RunDirectory, checkpoint: Path, **changes: Any) -> WorkerSettings:
    """Settings of a worker of a run on this machine's CPU, with one thread."""
    settings = settings_without_a_model(
        run_uri=run.uri,
        weights=str(checkpoint),
        weights_sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        device_model=device_model("cpu"),
        batch_size=2,
    )
    libraries = libraries_of(changes.get("engine", settings.engine), installed_libraries())
    return replace(settings, **{"libraries": libraries, **changes})


def settings_without_a_model(**changes: Any) -> WorkerSettings:
    """Settings of a stand-in for the worker: one CPU, and no checkpoint."""
    settings = WorkerSettings(
        run_uri="/nowhere",
        run_id=RUN_ID,
        weights="/nowhere",
        weights_sha256="0",
        device="cpu",
        device_model="none",
        libraries=libraries_of("eager", installed_libraries()),
        allow_mixed_devices=False,
        numerics_version=NUMERICS_VERSION,
        allow_version_change=False,
        precision="fp32",
        engine="eager",
        batch_size=1,
        threads=1,
        score_threshold=0.05,
        max_pixels=10_000,
        bytes_in_flight=2**20,
    )
    return replace(settings, **changes)


def rows_of(run: RunDirectory, shard: int) -> list[Row]:
    """Read a committed shard back."""
    return table_to_rows(read_shard(run, shard, run_id=RUN_ID).table)
