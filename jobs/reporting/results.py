"""The results that a run's directory may hold: metrics, curves and best possible recall.

Each is optional, and so are the parts that some versions of ``fcos`` write and others do not: a
part that cannot be understood is left out with a warning, for a report must never be what fails.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from fcos_core.errors import ConfigError
from fcos_core.metrics.coco import METRIC_NAMES
from jobs.rundir.directory import RunDirectory
from jobs.storage import storage_for

_log = logging.getLogger(__name__)


def _or_nothing(
    value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo
) -> object:
    try:
        return validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        _log.warning("%s is left out of the report: %s", info.field_name, first["msg"])
        return None


_lenient = WrapValidator(_or_nothing)


class _Part(BaseModel):
    """Anything read from a result; what this version does not know is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


_PartT = TypeVar("_PartT", bound=_Part)


class CategoryMetrics(_Part):
    """The numbers of one category."""

    category_id: int
    name: str
    num_objects: int
    num_detections: int
    AP: float
    AP50: float
    AP75: float
    AR100: float
    best_threshold: float | None = None
    best_f1: float | None = None
    precision: float | None = None
    recall: float | None = None


class Bootstrap(_Part):
    """How the intervals were made."""

    resamples: int
    seed: int
    level: float


class Errors(_Part):
    """AP50 that each kind of error costs, and how many there are of it."""

    shares: dict[str, float]
    counts: dict[str, int] = Field(default_factory=dict)


class CalibrationBin(_Part):
    """Detections of similar score."""

    low: float
    high: float
    count: int
    mean_score: float | None = None
    precision: float | None = None


class Calibration(_Part):
    """How far a score can be taken for a probability."""

    bins: tuple[CalibrationBin, ...]
    ece: float


class Confusion(_Part):
    """Objects of one category that were taken for another."""

    true: str | int
    predicted: str | int
    count: int


class Threshold(_Part):
    """A score to cut at, and what is left there."""

    score: float
    precision: float
    recall: float
    f1: float


class LadderStep(_Part):
    """Boxes that are left after one step from the ground truth to what is scored."""

    name: str
    boxes: int
    lost: int = 0
    lost_by_area: dict[str, int] = Field(default_factory=dict)


class Ladder(_Part):
    """Where recall is lost, step by step; and how many objects are found, by what training can."""

    steps: tuple[LadderStep, ...]
    assignable_by_found: dict[str, dict[str, int]] = Field(default_factory=dict)


class Metrics(_Part):
    """What ``evaluation/metrics.json`` says.

    Attributes:
        numbers: the twelve, by COCO's names; -1 where undefined.
        counts: of images, objects, detections, and what does not count.
        digest: of the rows that were scored; None when they were not complete.
        assignable_by: name of the rule of the ladder's second step.
        assignable_at_px: shorter side and limit of the longer side of the network's input there.
        video: of the frames of videos, apart; None where there are none.
    """

    numbers: dict[str, float]
    annotations: str
    annotations_sha256: str
    digest: str | None = None
    score_threshold: float | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    per_category: tuple[CategoryMetrics, ...] = ()
    intervals: Annotated[dict[str, tuple[float, float]] | None, _lenient] = None
    bootstrap: Annotated[Bootstrap | None, _lenient] = None
    errors: Annotated[Errors | None, _lenient] = None
    calibration: Annotated[Calibration | None, _lenient] = None
    confusions: Annotated[tuple[Confusion, ...] | None, _lenient] = None
    thresholds: Annotated[Threshold | None, _lenient] = None
    ladder: Annotated[Ladder | None, _lenient] = None
    assignable_by: Annotated[str | None, _lenient] = None
    assignable_at_px: Annotated[tuple[int, int] | None, _lenient] = None
    video: Annotated[Metrics | None, _lenient] = None

    @property
    def is_about_frames(self) -> bool:
        """Whether the images are frames of videos."""
        return "frames" in self.counts

    @property
    def noun(self) -> str:
        """What an image is."""
        return "frame" if self.is_about_frames else "image"

    @property
    def main(self) -> Metrics:
        """What a page is about: images, and frames only where there are no images."""
        return self if self.video is None or self.counts.get("images") else self.video


class RecallGroup(_Part):
    """Boxes of one kind, and how many of them are recalled."""

    name: str
    recalled: int
    total: int
    bpr: float


class RecallRule(_Part):
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


class Recall(_Part):
    """What ``bpr/bpr.json`` says."""

    annotations_sha256: str
    images: int
    crowds: int = 0
    rules: dict[str, RecallRule]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Precision by recall of one category, or of all.

    Attributes:
        category_id: None for the mean over categories.
        iou: overlap that counts as found; None for the mean over COCO's ten.
        recall: rising.
        precision: at each recall; negative where undefined.
    """

    category_id: int | None
    iou: float | None
    recall: Sequence[float]
    precision: Sequence[float]


def read_metrics(run: RunDirectory) -> Metrics | None:
    """Read what ``fcos evaluate`` wrote; None when it was never run here."""
    document = _read_json(run.evaluation_uri("metrics.json"))
    if document is None:
        return None
    video = document.get("video")
    if isinstance(video, dict):
        # It was scored in one go with the images, and does not say so again.
        same = {name: document[name] for name in _SAID_ONCE if name in document}
        document["video"] = _with_numbers({**same, **video})
    return _validated(Metrics, _with_numbers(document), run.evaluation_uri("metrics.json"))


def _with_numbers(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "numbers": {name: document.get(name, -1.0) for name in METRIC_NAMES}}


_SAID_ONCE = ("annotations", "annotations_sha256", "digest", "score_threshold")


def read_recall(run: RunDirectory) -> Recall | None:
    """Read what ``fcos bpr --run`` wrote; None when it was never run here."""
    document = _read_json(run.bpr_uri("bpr.json"))
    return None if document is None else _validated(Recall, document, run.bpr_uri("bpr.json"))


def read_curves(run: RunDirectory, metrics: Metrics | None) -> list[Curve]:
    """Read the precision-recall curves that ``fcos evaluate`` wrote; none when there are none.

    Args:
        run: the run.
        metrics: whose they are; None where that is not known.
    """
    folder = "video/" if metrics is not None and metrics.is_about_frames else ""
    uri = run.evaluation_uri(f"{folder}curves.parquet")
    storage = storage_for(uri)
    if storage.stat(uri) is None:
        return []
    names = ["category_id", "iou", "recall", "precision"]
    try:
        table = pq.read_table(pa.BufferReader(storage.read(uri)), columns=names)
        columns: list[list[Any]] = [table.column(name).to_pylist() for name in names]
    except (pa.ArrowException, OSError, KeyError) as error:
        _log.warning("%s is left out of the report: %s", uri, error)
        return []
    return [
        Curve(category_id=category_id, iou=iou, recall=recall, precision=precision)
        for category_id, iou, recall, precision in zip(*columns, strict=True)
    ]


def _read_json(uri: str) -> dict[str, Any] | None:
    """Read a JSON object; None when there is no such file.

    Raises:
        ConfigError: it is something else.
    """
    storage = storage_for(uri)
    if storage.stat(uri) is None:
        return None
    try:
        document = json.loads(storage.read(uri))
    except ValueError as error:
        raise ConfigError(f"{uri!r} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{uri!r} is damaged: it holds no object")
    return document


def _validated(kind: type[_PartT], document: dict[str, Any], uri: str) -> _PartT:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{uri!r} is damaged: {place}: {first['msg']}") from error
