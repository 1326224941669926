"""Choose what a user left open, once per run: a resumed run takes it from its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fcos_core.config import EngineName
from fcos_core.engines.choice import EngineChoice, Hardware, choose_engine
from fcos_core.numerics import NUMERICS_VERSION
from jobs.media.limits import MAX_FRAME_PIXELS
from jobs.parallel.libraries import extras, libraries_of
from jobs.parallel.resources import Resources
from jobs.planning.model_card import ModelCard
from jobs.planning.ordered_items import OrderedItems
from jobs.planning.shard_size import auto_shard_size
from jobs.rundir.schemas import SCHEMA_VERSION
from jobs.settings.detect import DetectConfig
from jobs.storage import absolute

DEVICE_MODEL = "device_model"
LIBRARIES = "libraries"
NUMERICS = "numerics_version"
MIXED_FIELDS = (DEVICE_MODEL, LIBRARIES)
"""The fields that may differ on resume, with ``--allow-mixed-devices``."""

_MAX_CUDA_THREADS = 8
_MAX_CPU_THREADS = 4

Fields = Mapping[str, Any]
"""The settings that decide the rows, by name; a run's fingerprint is made of them."""


def resolve_fields(
    config: DetectConfig,
    *,
    items: OrderedItems,
    resources: Resources,
    model: ModelCard,
    choice: EngineChoice,
) -> Fields:
    """Fix every field but the batch size: as the user says, otherwise by the data and the device.

    The batch size is auto's for the manifest, unless the user gives it.
    """
    threads = config.threads_per_actor or _threads(resources)
    return {
        "threads_per_actor": threads,
        "shard_size": auto_shard_size(
            items.num_rows,
            is_sized=items.is_sized,
            resources=resources,
            threads=threads,
            model=model.config,
        ),
        **explicit_fields(config),
        "precision": choice.precision,
        "engine": choice.engine,
        "weights_sha256": model.sha256,
        "preset": model.preset,
        "schema_version": SCHEMA_VERSION,
        **fields_of_this_place(resources, choice.engine),
    }


def resolve_engine(config: DetectConfig, resources: Resources) -> EngineChoice:
    """Choose the engine and precision that the user left open, for the device of the workers."""
    return choose_engine(hardware_of(resources), engine=config.engine, precision=config.precision)


def hardware_of(resources: Resources) -> Hardware:
    """Say what the choice of an engine depends on."""
    return Hardware(
        device="cuda" if resources.device == "cuda" else "cpu",
        has_bf16=resources.has_bf16,
        extras=extras(resources.libraries),
    )


def fields_of_this_place(resources: Resources, engine: EngineName) -> Fields:
    """Collect what decides the rows beside the command: code, libraries and device.

    They are compared where shards are computed, and nowhere else: a finished run stays one.
    """
    return {
        NUMERICS: NUMERICS_VERSION,
        LIBRARIES: libraries_of(engine, resources.libraries),
        DEVICE_MODEL: resources.device_model,
    }


def explicit_fields(config: DetectConfig) -> Fields:
    """Collect the fields that the command itself fixes; those left open are absent."""
    choices = {
        "precision": None if config.precision == "auto" else config.precision,
        "engine": None if config.engine == "auto" else config.engine,
        "batch_size": config.batch_size,
        "threads_per_actor": config.threads_per_actor,
        "shard_size": config.shard_size,
    }
    return {
        "inputs": [absolute(text) for text in config.inputs],
        "image_root": None if config.image_root is None else absolute(config.image_root),
        "image_column": config.image_column,
        "limit": config.limit,
        "sampling": str(config.sampling()),
        "stream": config.stream,
        "max_frame_pixels": MAX_FRAME_PIXELS,
        "max_pixels": config.max_pixels,
        "score_threshold": config.score_threshold,
        **{name: choice for name, choice in choices.items() if choice is not None},
    }


def resolve_num_actors(
    asked_for: int | Literal["auto"], resources: Resources, threads_per_actor: int
) -> int:
    """Choose one worker per GPU; without GPUs as many as the cores allow."""
    if asked_for != "auto":
        return asked_for
    if resources.num_gpus:
        return resources.num_gpus
    return max(1, resources.num_cpus // threads_per_actor)


def _threads(resources: Resources) -> int:
    if resources.num_gpus:
        return max(1, min(_MAX_CUDA_THREADS, resources.num_cpus // resources.num_gpus))
    return max(1, min(_MAX_CPU_THREADS, resources.num_cpus))
