"""``metrics.json``: its fields in the order of the file, for ``fcos evaluate`` and the report.

A field that does not apply is absent. A report must not fail over a part that another version of
``fcos`` wrote otherwise: such a part is left out with a warning when the file is read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from fcos_core.metrics.coco import METRIC_NAMES

_log = logging.getLogger(__name__)

_READING = "reading"


def _or_nothing(
    value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo
) -> object:
    try:
        return validate(value)
    except ValidationError as error:
        if info.context != _READING:  # about to be written: the error is our own
            raise
        first = error.errors()[0]
        _log.warning("%s is left out of the report: %s", info.field_name, first["msg"])
        return None


_lenient = WrapValidator(_or_nothing)


class Part(BaseModel):
    """A part of a result; fields that this version does not know are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Numbers(Part):
    """COCO's twelve numbers, by its names; -1 where undefined."""

    AP: float = -1.0
    AP50: float = -1.0
    AP75: float = -1.0
    APs: float = -1.0
    APm: float = -1.0
    APl: float = -1.0
    AR1: float = -1.0
    AR10: float = -1.0
    AR100: float = -1.0
    ARs: float = -1.0
    ARm: float = -1.0
    ARl: float = -1.0

    @property
    def numbers(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in METRIC_NAMES}


class _CategoryFacts(Part):
    category_id: int
    name: str
    num_objects: int
    num_detections: int
    best_threshold: float | None = None
    best_f1: float | None = None
    precision: float | None = None
    recall: float | None = None


class CategoryMetrics(_Numbers, _CategoryFacts):
    """The numbers of one category; precision and recall are those at its best threshold."""

    AP: float = Field(...)
    AP50: float = Field(...)
    AP75: float = Field(...)
    AR100: float = Field(...)


class AreaMetrics(Part):
    """The numbers of one category, or of all, for objects of one range of areas."""

    name: str | None
    category_id: int | None
    area: str
    num_objects: int
    AP: float
    AP50: float
    AP75: float
    AR100: float


class Bootstrap(Part):
    """How the intervals were made."""

    resamples: int
    seed: int
    level: float
    bias: dict[str, float | None] = Field(default_factory=dict)


class Errors(Part):
    """AP50 that each kind of error costs, and how many errors of each kind there are."""

    iou: float | None = None
    shares: dict[str, float]
    counts: dict[str, int] = Field(default_factory=dict)


class CalibrationBin(Part):
    """Detections of similar score."""

    low: float
    high: float
    count: int
    mean_score: float | None = None
    precision: float | None = None


class Calibration(Part):
    """How far a score can be taken for a probability."""

    iou: float | None = None
    ece: float
    mce: float | None = None
    bins: list[CalibrationBin]


class Confusion(Part):
    """Objects of one category that were detected as another."""

    true: str | int
    predicted: str | int
    count: int
    share: float | None = None


class Threshold(Part):
    """A score threshold, and precision, recall and F1 of the detections it keeps."""

    score: float
    precision: float
    recall: float
    f1: float


class LadderStep(Part):
    """Boxes that are left after one step from the ground truth to what is scored."""

    name: str
    boxes: int
    boxes_by_area: dict[str, int] = Field(default_factory=dict)
    boxes_by_class: list[int] = Field(default_factory=list[int])
    lost: int = 0
    lost_by_area: dict[str, int] = Field(default_factory=dict)
    lost_by_class: list[int] = Field(default_factory=list[int])


class Ladder(Part):
    """Where recall is lost, step by step; and how many objects are found, by assignability."""

    classes: list[str] = Field(default_factory=list[str])
    steps: list[LadderStep]
    averages: dict[str, float] = Field(default_factory=dict)
    assignable_by_found: dict[str, dict[str, int]] = Field(default_factory=dict)


class _Subject(Part):
    """What was scored; the same for images and frames, so the file has it once."""

    run: str | None = None
    results: str | None = None
    results_sha256: str | None = None
    run_id: str | None = None
    digest: str | None = None
    digest_class: str | None = None
    complete: bool | None = None
    joined_by: str | None = None
    score_threshold: float | None = None
    annotations: str
    annotations_sha256: str
    areas_filled: int | None = None
    order: str | None = None
    max_detections: list[int] = Field(default_factory=list[int])


class _Findings(Part):
    counts: dict[str, int] = Field(default_factory=dict)
    intervals: Annotated[dict[str, tuple[float, float]] | None, _lenient] = None
    intervals_per_category: Annotated[dict[int, tuple[float, float]] | None, _lenient] = None
    bootstrap: Annotated[Bootstrap | None, _lenient] = None
    assignable_by: Annotated[str | None, _lenient] = None
    assignable_at_px: Annotated[tuple[int, int] | None, _lenient] = None
    errors: Annotated[Errors | None, _lenient] = None
    confusions: Annotated[list[Confusion] | None, _lenient] = None
    confusion_totals: Annotated[dict[str, int | float] | None, _lenient] = None
    calibration: Annotated[Calibration | None, _lenient] = None
    thresholds: Annotated[Threshold | None, _lenient] = None
    ladder: Annotated[Ladder | None, _lenient] = None
    recall: Annotated[dict[str, dict[str, float]] | None, _lenient] = None
    per_area: Annotated[list[AreaMetrics] | None, _lenient] = None
    per_category: list[CategoryMetrics] = Field(default_factory=list[CategoryMetrics])


class Metrics(_Findings, _Subject, _Numbers):
    """What ``evaluation/metrics.json`` says.

    Attributes:
        run: uri of the run; absent for a results file.
        results: uri of the results file; absent for a run.
        digest: digest of the rows that were scored; None when they were not complete.
        order: what decides between equal scores.
        counts: number of images, objects, detections, and of what does not count.
        intervals: lower and upper end by name of the number.
        assignable_by: name of the rule of the ladder's second step.
        assignable_at_px: shorter side and limit of the longer side of the network's input there.
        thresholds: the score threshold with the largest F1.
        recall: average recall by area range, then by number of detections.
        video: metrics of the frames of videos; None without videos.
        comparison: differences to another run.
    """

    video: Annotated[Metrics | None, _lenient] = None
    comparison: Annotated[dict[str, Any] | None, _lenient] = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Metrics:
        """Take the JSON object of a file."""
        video = document.get("video")
        if isinstance(video, dict):
            same = {name: document[name] for name in _Subject.model_fields if name in document}
            document = {**document, "video": {**same, **video}}
        return cls.model_validate(document, context=_READING)

    def document(self) -> dict[str, Any]:
        """The content of the file, in the file's order."""
        once = {"video": set(_Subject.model_fields)}
        return self.model_dump(mode="json", exclude_unset=True, exclude=once)

    def encode(self) -> bytes:
        return (json.dumps(self.document(), indent=2) + "\n").encode()

    @property
    def is_about_frames(self) -> bool:
        return "frames" in self.counts

    @property
    def noun(self) -> str:
        return "frame" if self.is_about_frames else "image"

    @property
    def main(self) -> Metrics:
        """What a page is about: images, and frames only where there are no images."""
        return self if self.video is None or self.counts.get("images") else self.video
