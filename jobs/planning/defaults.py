"""Fills in what a user left open, once per run: resuming takes it from the run's fingerprint."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, Literal

from jobs.inputs.sources import Listing
from jobs.media.limits import MAX_FRAME_PIXELS
from jobs.parallel.resources import Resources
from jobs.planning.manifest import Videos, auto_shard_size
from jobs.rundir.schemas import SCHEMA_VERSION
from jobs.settings.detect import DetectConfig
from jobs.storage import absolute

PROJECT = "fcos-batch"

DEVICE_MODEL = "device_model"
"""The one field that a user may let differ, with ``--allow-mixed-devices``."""

CUDA_BATCH_SIZE = 8
CPU_BATCH_SIZE = 1  # a core gains nothing from batches, and a short one is computed in full

_MAX_CUDA_THREADS = 8
_MAX_CPU_THREADS = 4

Fields = Mapping[str, Any]
"""Everything the rows depend on, by name; a run's fingerprint is made of it."""


def resolve(
    config: DetectConfig,
    *,
    listing: Listing,
    videos: Videos,
    resources: Resources,
    weights_sha256: str,
    preset: str,
) -> Fields:
    """Choose what was left open.

    Args:
        config: what the user asks.
        listing: what the inputs stand for.
        videos: those among it.
        resources: what there is to compute with.
        weights_sha256: of the checkpoint.
        preset: of the model in it.
    """
    batch_size = CUDA_BATCH_SIZE if resources.device == "cuda" else CPU_BATCH_SIZE
    return {
        "precision": "fp32",
        "engine": "eager",
        "batch_size": batch_size,
        "threads_per_actor": _threads(resources),
        "shard_size": auto_shard_size(listing, videos),
        **asked(config),
        "weights_sha256": weights_sha256,
        "preset": preset,
        DEVICE_MODEL: resources.device_model,
    }


def asked(config: DetectConfig) -> Fields:
    """Give the fields that the user's words fix; those left open are absent."""
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
        "limit": config.limit,
        "sampling": str(config.sampling()),
        "stream": config.stream,
        "max_frame_pixels": MAX_FRAME_PIXELS,
        "max_pixels": config.max_pixels,
        "score_threshold": config.score_threshold,
        "schema_version": SCHEMA_VERSION,
        "project_version": importlib.metadata.version(PROJECT),
        **{name: choice for name, choice in choices.items() if choice is not None},
    }


def resolve_num_actors(
    asked_for: int | Literal["auto"], resources: Resources, threads_per_actor: int
) -> int:
    """One worker per GPU; without a GPU as many as the cores allow."""
    if asked_for != "auto":
        return asked_for
    if resources.num_gpus:
        return resources.num_gpus
    return max(1, resources.num_cpus // threads_per_actor)


def _threads(resources: Resources) -> int:
    if resources.num_gpus:
        return max(1, min(_MAX_CUDA_THREADS, resources.num_cpus // resources.num_gpus))
    return max(1, min(_MAX_CPU_THREADS, resources.num_cpus))
