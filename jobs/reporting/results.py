"""The results that a run's directory may hold: metrics, curves and best possible recall.

Each file is optional; ``jobs.rundir.metrics_json`` says what one of another version may lack.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from fcos_core.errors import ConfigError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.metrics_json import Metrics, Part
from jobs.rundir.schemas import CURVES
from jobs.rundir.untrusted.parquet_file import UntrustedFile, open_untrusted
from jobs.storage import storage_for

_log = logging.getLogger(__name__)


_PartT = TypeVar("_PartT", bound=Part)


class RecallGroup(Part):
    """Boxes of one kind, and how many of them are recalled."""

    name: str
    recalled: int
    total: int
    bpr: float


class RecallRule(Part):
    """Best possible recall under one rule."""

    recalled: int
    total: int
    bpr: float
    ambiguous_ratio: float | None = None
    ambiguous_ratio_cross_class: float | None = None
    lost: dict[str, int]
    by_area: tuple[RecallGroup, ...] = ()
    by_side: tuple[RecallGroup, ...] = ()
    by_aspect: tuple[RecallGroup, ...] = ()
    by_crowding: tuple[RecallGroup, ...] = ()


class Recall(Part):
    """What ``bpr/bpr.json`` says."""

    annotations_sha256: str
    images: int
    crowds: int = 0
    rules: dict[str, RecallRule]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Precision by rising recall; negative where undefined.

    ``category_id`` None stands for the mean over categories, ``iou`` None for that over COCO's ten.
    """

    category_id: int | None
    iou: float | None
    recall: Sequence[float]
    precision: Sequence[float]


def read_metrics(run: RunDirectory) -> Metrics | None:
    """Read what ``fcos evaluate`` wrote; None when it was never run here."""
    uri = run.evaluation_uri("metrics.json")
    document = _read_json(uri)
    return None if document is None else _validated(Metrics.read, document, uri)


def read_recall(run: RunDirectory) -> Recall | None:
    """Read what ``fcos bpr --run`` wrote; None when it was never run here."""
    uri = run.bpr_uri("bpr.json")
    document = _read_json(uri)
    return None if document is None else _validated(Recall.model_validate, document, uri)


def read_curves(run: RunDirectory, metrics: Metrics | None) -> list[Curve]:
    """Read the precision-recall curves that belong to the metrics; none when there are none."""
    folder = "video/" if metrics is not None and metrics.is_about_frames else ""
    uri = run.evaluation_uri(f"{folder}curves.parquet")
    storage = storage_for(uri)
    if storage.stat(uri) is None:
        return []
    try:
        return _curves(open_untrusted(storage.read(uri)))
    except (pa.ArrowException, ValueError) as error:
        _log.warning("%s is left out of the report: %s", uri, error)
        return []


def _curves(file: UntrustedFile) -> list[Curve]:
    if missing := set(CURVES.names).difference(file.schema.names):
        raise ValueError(f"it has no column {', '.join(sorted(missing))}")
    table = file.read(CURVES.names).cast(CURVES)
    table.validate(full=True)
    return [_curve(**values) for values in table.to_pylist()]


def _curve(
    *, category_id: int | None, iou: float | None, recall: list[float], precision: list[float]
) -> Curve:
    points = np.array([*recall, *precision], np.float64)  # null: not a number
    if len(recall) != len(precision) or not np.isfinite(points).all():
        raise ValueError(f"the curve of category {category_id} at IoU {iou} has no such points")
    return Curve(category_id=category_id, iou=iou, recall=recall, precision=precision)


def _read_json(uri: str) -> dict[str, Any] | None:
    storage = storage_for(uri)
    if storage.stat(uri) is None:
        return None
    try:
        document = json.loads(storage.read(uri))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{uri!r} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{uri!r} is damaged: it holds no object")
    return document


def _validated(
    read: Callable[[dict[str, Any]], _PartT], document: dict[str, Any], uri: str
) -> _PartT:
    try:
        return read(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{uri!r} is damaged: {place}: {first['msg']}") from error
