"""Begin a run, or take up the one that exists: the manifest is created once and decides."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import errno
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fcos_core.engines.choice import FALLBACK, OPENVINO_INSTALL, runs_here
from fcos_core.errors import ConfigError
from jobs.inputs.item_spool import ItemSpool
from jobs.inputs.sources import Listing, enumerate_inputs
from jobs.inputs.video_index import SEGMENT_ROWS, VideoRequest, plan_videos
from jobs.parallel.resources import Resources
from jobs.planning.batch_size import auto_batch_size
from jobs.planning.defaults import (
    LIBRARIES,
    MIXED_FIELDS,
    NUMERICS,
    Fields,
    fields_of_this_place,
    hardware_of,
    resolve_engine,
    resolve_fields,
)
from jobs.planning.manifest import PlannedItems
from jobs.planning.model_card import ModelCard
from jobs.planning.ordered_items import OrderedItems
from jobs.rundir.directory import RunDirectory
from jobs.rundir.fingerprint import explain_difference, fingerprint
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.manifest.writing import write_manifest
from jobs.rundir.schemas import SCHEMA_VERSION
from jobs.rundir.untrusted.validation_error import first_problem
from jobs.settings.detect import DetectConfig, EngineChoice, PrecisionChoice
from jobs.storage import is_local, local_path, storage_for

_OURS = {
    "manifest",
    "manifest.parquet",
    "run.json",
    "detections",
    "retries",
    "evaluation",
    "events",
}
_OF_A_BEGUN_RUN = {"run.json", "detections", "retries"}
"""These come after the index that begins a run."""

_SHOWN = 3

_log = logging.getLogger(__name__)


class _DecidedFields(BaseModel):
    """The fields of a run that a user may leave open, so that only the run itself says them."""

    model_config = ConfigDict(strict=True, extra="ignore")

    precision: PrecisionChoice
    engine: EngineChoice
    batch_size: int = Field(ge=1)
    threads_per_actor: int = Field(ge=1)
    shard_size: int = Field(ge=1)
    device_model: str


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run that is decided and not begun yet.

    Attributes:
        run_id: what the run will have as its own, unless another driver begins it first.
        planned: the items of the manifest.
        fields: the settings that decide the rows; the fingerprint is made of them.
        skipped: number of files that the listing of the inputs passed over.
        annotations: uri of the COCO file when the input is one COCO file, otherwise None.
        engine_reason: why the run gets its engine and precision.
    """

    run_id: str
    planned: PlannedItems
    fields: Fields
    skipped: int
    annotations: str | None
    engine_reason: str

    def shards(self) -> ShardTable:
        return self.planned.shards

    def read_table(self) -> pa.Table:
        """All items as one ``MANIFEST`` table."""
        return pa.concat_tables(self.planned.tables())


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run whose manifest is written; ``RunPlan`` describes ``fields`` and ``annotations``.

    The footer of every shard repeats ``manifest.run_id``.
    """

    directory: RunDirectory
    manifest: Manifest
    fields: Fields
    annotations: str | None

    @property
    def run_id(self) -> str:
        return self.manifest.run_id

    @property
    def fingerprint(self) -> str:
        """The sha256 of ``fields``, in hex."""
        return self.manifest.metadata["fingerprint"]

    @property
    def skipped(self) -> int:
        """Files that the newest listing of the inputs passed over."""
        return self.manifest.skipped

    def shards(self) -> ShardTable:
        return self.manifest.shards

    def is_committed(self, shards: ShardTable) -> npt.NDArray[np.bool_]:
        """Say of each of some shards whether its file exists."""
        return np.isin(shards.numbers, self.directory.list_shards().shards)


def list_inputs(config: DetectConfig) -> Listing:
    """Find the images and videos that the inputs of a command stand for."""
    return enumerate_inputs(
        config.inputs,
        image_root=config.image_root,
        image_column=config.image_column,
        limit=config.limit,
    )


def order_items(
    config: DetectConfig, listed: ItemSpool, *, shard_size: int | None = None
) -> OrderedItems:
    """Index the videos among some items, and put all in the order of a manifest.

    Args:
        config: of the command.
        listed: the items.
        shard_size: rows per shard where they are decided; None where they depend on the items.
    """
    request = VideoRequest(
        stream=config.stream,
        sampling=config.sampling(),
        rows_per_segment=min(SEGMENT_ROWS, shard_size or SEGMENT_ROWS),
    )
    plan = partial(plan_videos, request=request, address=config.address)
    return OrderedItems(listed, plan)


def plan_run(config: DetectConfig, model: ModelCard, probe: Callable[[], Resources]) -> RunPlan:
    """List the inputs and decide what the user left open; write nothing.

    Args:
        config: the user's settings.
        model: the card of the weights.
        probe: finds the cores and GPUs, once the inputs are known to be usable.
    """
    listing = list_inputs(config)
    items = order_items(config, listing.items, shard_size=config.shard_size)
    listing.close()
    resources = probe()
    choice = resolve_engine(config, resources)
    fields = resolve_fields(config, items=items, resources=resources, model=model, choice=choice)
    has_image_ids = listing.annotations is not None
    planned = PlannedItems(items, fields["shard_size"], has_image_ids=has_image_ids)
    groups = planned.size_groups
    batch_size = auto_batch_size(resources, groups, model.config, choice.precision)
    return RunPlan(
        run_id=uuid.uuid4().hex,
        planned=planned,
        fields={"batch_size": batch_size, **fields},
        skipped=listing.skipped,
        annotations=listing.annotations,
        engine_reason=choice.reason,
    )


def choose_shards(config: DetectConfig, table: ShardTable) -> ShardTable:
    """Take the shards of a run that a command computes.

    Raises:
        ConfigError: there are none.
    """
    numbers = config.shard_numbers()
    if numbers is None:
        return table
    first, end = np.searchsorted(table.numbers, [numbers.start, numbers.stop])
    if first == end:
        last = int(table.numbers[-1]) if len(table) else "none"
        raise ConfigError(f"--shards {config.shards}: the last shard of the run is {last}")
    return table.select(slice(int(first), int(end)))


def begin_run(directory: RunDirectory, plan: RunPlan) -> None:
    """Write the manifest of a new run; where another driver was faster, its manifest stays."""
    write_manifest(
        directory.uri,
        plan.planned.tables(),
        {
            "run_id": plan.run_id,
            "fingerprint": fingerprint(plan.fields),
            "fingerprint_fields": json.dumps(plan.fields),
            "skipped": str(plan.skipped),
            "annotations": json.dumps(plan.annotations),
        },
        plan_id=plan.run_id,
    )


def reopen_run(directory: RunDirectory) -> OpenRun:
    """Read what a run was begun with, before anything is computed for it.

    Raises:
        ConfigError: the manifest lacks it, or ``run.json`` is damaged or of another run.
    """
    manifest = directory.manifest()
    try:
        fields = json.loads(manifest.metadata["fingerprint_fields"])
        if manifest.schema_version == SCHEMA_VERSION:
            _DecidedFields.model_validate(fields)
        annotations = json.loads(manifest.metadata["annotations"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{manifest.uri!r} was not written by fcos detect: {_reason(error)}"
        ) from error
    run = OpenRun(directory=directory, manifest=manifest, fields=fields, annotations=annotations)
    _require_sound_record(run)
    return run


def _reason(error: Exception) -> str:
    return first_problem(error) if isinstance(error, ValidationError) else repr(error)


def _require_sound_record(run: OpenRun) -> None:
    """Refuse a ``run.json`` that the proof would refuse at the end; there may be none yet."""
    directory = run.directory
    if storage_for(directory.uri).stat(directory.run_uri) is not None:
        directory.read_run_record()


def require_same_fields(run: OpenRun, fields: Fields) -> None:
    """Refuse to resume a run with other settings or another model.

    ``fields`` are those that this command fixes; the run decides the rest.

    Raises:
        ConfigError: a field differs; the message names it with both values.
    """
    difference = explain_difference(run.fields, {**run.fields, **fields})
    if difference:
        raise ConfigError(
            f"{run.directory.uri!r} holds another run: {difference}; "
            "give the same settings, or another --out"
        )


def require_same_place(
    run: OpenRun,
    resources: Resources,
    *,
    allow_mixed_devices: bool,
    allow_version_change: bool = False,
) -> None:
    """Refuse to compute rows that would differ in their last bits from those of the run.

    Raises:
        ConfigError: the device, a library or this project's own arithmetic differs, and the user
            has not allowed it; or the run's tables are of another version.
    """
    if run.manifest.schema_version != SCHEMA_VERSION:
        raise ConfigError(
            f"{run.directory.uri!r} has tables of version {run.manifest.schema_version}, this "
            f"writes version {SCHEMA_VERSION}: every command reads the run, none adds to it; "
            "resume it with the version that began it, or give another --out"
        )
    engine, precision = run.fields["engine"], run.fields["precision"]
    now = {**run.fields, **fields_of_this_place(resources, engine)}
    if allow_mixed_devices:
        now |= {name: run.fields.get(name) for name in MIXED_FIELDS}
    if allow_version_change:
        now |= {NUMERICS: run.fields.get(NUMERICS)}
    difference = explain_difference(run.fields, now)
    has_engine = runs_here(engine, precision, hardware_of(resources))
    if not difference:
        if not has_engine:
            _log.warning("the run's engine %s is not here: %s computes its rows", engine, FALLBACK)
        return
    remedy = "give this device and these versions, or --allow-mixed-devices for rows that differ"
    if not has_engine and "openvino" in run.fields.get(LIBRARIES, {}):
        remedy = f"{OPENVINO_INSTALL}=={run.fields[LIBRARIES]['openvino']}; {remedy}"
    if now[NUMERICS] != run.fields.get(NUMERICS):
        remedy = (
            "resume it with the version that began it, or --allow-version-change for rows that "
            "differ"
        )
    raise ConfigError(f"{run.directory.uri!r} was begun elsewhere: {difference}; {remedy}")


def require_free(directory: RunDirectory) -> None:
    """Refuse to mix a new run with the files of others.

    Raises:
        ConfigError: the directory holds other files, or rows without their manifest; or the uri is
            a file.
    """
    if storage_for(directory.uri).stat(directory.uri) is not None:
        raise ConfigError(f"--out {directory.uri!r} is a file, must be a folder")
    others = list(islice((name for name in _names_in(directory) if name not in _OURS), _SHOWN))
    rest = next((name for name in _names_in(directory) if name in _OF_A_BEGUN_RUN), None)
    if rest is not None and not directory.exists():  # another driver may have begun it meanwhile
        raise ConfigError(
            f"--out {directory.uri!r} holds {rest} of a run whose {directory.manifest_uri!r} is "
            "missing; put that back, or give a new folder"
        )
    if others:
        raise ConfigError(
            f"--out {directory.uri!r} holds other files ({', '.join(others)}); give a new folder"
        )


def _names_in(directory: RunDirectory) -> Iterator[str]:
    """Name files in a run's directory and its folders, each once per file in it; no hidden ones.

    Yields:
        The first part of a file's name.
    """
    start = len(directory.uri.rstrip("/")) + 1
    for info in storage_for(directory.uri).list(directory.uri):
        name = info.uri[start:].split("/")[0]
        if name[:1] != ".":
            yield name


def require_writable(directory: RunDirectory) -> None:
    """Refuse a local folder in which nothing can be written, before anything is started.

    Raises:
        ConfigError: the folder, or the one in which it will be made, is read-only or no folder.
    """
    if not is_local(directory.uri):
        return
    path = Path(local_path(directory.uri))
    folder = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not folder.is_dir():
        number = errno.ENOTDIR
    elif os.access(folder, os.W_OK | os.X_OK):
        return
    else:
        is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
    raise ConfigError(f"{directory.manifest_uri!r} cannot be written: {os.strerror(number)}")


def require_no_retry(config: DetectConfig) -> None:
    """Refuse to begin a run with an option that needs one.

    Raises:
        ConfigError: ``--retry-quarantined`` is given.
    """
    if config.retry_quarantined:
        raise ConfigError(f"--retry-quarantined: there is no run at {config.out!r} to retry in")


def require_safe_commits(directory: RunDirectory) -> None:
    """Refuse storage that replaces objects instead of creating them: commits could be lost."""
    storage_for(directory.uri).check_create(directory.uri)
