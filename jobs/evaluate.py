"""Score a run, or a COCO results file, against COCO annotations: the twelve numbers.

A run's detections are scored in a stated order that depends on nothing but their content; a
results file in its own order, as pycocotools scores it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, model_validator

from fcos_core.errors import ConfigError, IncompleteRunError
from fcos_core.metrics.coco import (
    CANONICAL_ORDER,
    MAX_DETECTIONS,
    METRIC_NAMES,
    DetectedBoxes,
    TrueBoxes,
    canonical_order,
    evaluate_boxes,
)
from jobs.runtime.summary import incompleteness
from jobs.storage import absolute, storage_for
from jobs.tables.coco_json import CocoAnnotations, load_annotations, load_results
from jobs.tables.detected import DetectedColumns, read_detected
from jobs.tables.joining import Join, join_annotations, require_same_categories
from jobs.tables.per_category import encode_per_category
from jobs.tables.proof import Proof, prove
from jobs.tables.run_directory import RunDirectory

_FILE_ORDER = "the results file's own"


class EvaluateConfig(BaseModel):
    """What to score, and against what.

    Attributes:
        run: the run's directory; either this or ``results``.
        annotations: COCO annotation file.
        results: COCO results file to score instead of a run.
        out: file for the metrics; by default the run's ``evaluation/metrics.json``.
        allow_incomplete: score a run with missing rows; their images count as without detections.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str | None = None
    annotations: str
    results: str | None = None
    out: str | None = None
    allow_incomplete: bool = False

    @model_validator(mode="after")
    def _has_one_subject(self) -> Self:
        if (self.run is None) == (self.results is None):
            raise ValueError("give either a run directory or --results FILE")
        return self


@dataclass(frozen=True)
class EvaluateResult:
    """The metrics document and where it was written.

    Attributes:
        metrics: what ``metrics.json`` holds.
        paths: uris of the files written, by what they are.
    """

    metrics: dict[str, Any]
    paths: dict[str, str]

    @property
    def headline(self) -> dict[str, float]:
        """The twelve numbers."""
        return {name: self.metrics[name] for name in METRIC_NAMES}

    def summary(self) -> dict[str, Any]:
        """What the command's last line on stdout says."""
        subject = {name: self.metrics[name] for name in ("run", "results") if name in self.metrics}
        counts = self.metrics["counts"]
        complete = self.metrics["complete"]
        return {**subject, **self.headline, "complete": complete, **counts, "paths": self.paths}


@dataclass(frozen=True)
class _Subject:
    """What is scored: detections in the order that counts, on the images that count."""

    detections: DetectedBoxes
    image_ids: npt.NDArray[np.int64]
    order: str
    counts: dict[str, int]
    about: dict[str, Any] = field(default_factory=dict[str, Any])


def run(
    config: EvaluateConfig,
    *,
    annotations: CocoAnnotations | None = None,
    proof: Proof | None = None,
) -> EvaluateResult:
    """Score detections and write the metrics.

    Args:
        config: what to score.
        annotations: the content of ``config.annotations`` where the caller has it already.
        proof: of the run, where the caller has it already.

    Returns:
        The metrics and the paths written.
    """
    annotations = annotations or load_annotations(config.annotations)
    if config.run is not None:
        subject = _subject_of_run(RunDirectory(config.run), annotations, config, proof)
    else:
        assert config.results is not None
        subject = _subject_of_results(config.results, annotations)
    return _write(config, _score(subject, annotations))


def _subject_of_run(
    directory: RunDirectory,
    annotations: CocoAnnotations,
    config: EvaluateConfig,
    proof: Proof | None,
) -> _Subject:
    record = directory.read_run_record()
    require_same_categories({c.id: c.name for c in record.categories}, annotations)
    join = _join(directory, annotations, record.input_annotations)
    proof = proof or prove(directory)
    if not proof.complete:
        _require_allowed(directory, proof, config)
    detected = read_detected(directory)
    return _Subject(
        detections=_to_annotated_ids(detected, join),
        image_ids=join.annotated_ids,
        order=CANONICAL_ORDER,
        counts={
            "quarantined": proof.quarantined,
            "missing": proof.missing,
            "not_in_run": join.num_not_in_run,
            "size_mismatches": _count_size_mismatches(detected, join, annotations),
        },
        about={
            "run": directory.uri,
            "run_id": record.run_id,
            "digest": proof.digest,
            "digest_class": proof.digest_class,
            "complete": proof.complete,
            "joined_by": join.by,
            "score_threshold": record.config.get("score_threshold"),
        },
    )


def _subject_of_results(uri: str, annotations: CocoAnnotations) -> _Subject:
    results = load_results(uri, annotations)
    detections = DetectedBoxes(
        results.image_ids, results.category_ids, results.boxes, results.scores
    )
    return _Subject(
        detections=detections,
        image_ids=np.array([image.id for image in annotations.images], np.int64),
        order=_FILE_ORDER,
        counts={},
        about={"results": results.uri, "results_sha256": results.sha256, "complete": True},
    )


def _join(directory: RunDirectory, annotations: CocoAnnotations, source: str | None) -> Join:
    manifest = cast("Any", directory).read_manifest_table()  # pyarrow has no types
    columns: dict[str, list[Any]] = manifest.select(["kind", "image_id", "uri"]).to_pydict()
    num_segments = sum(kind != "image" for kind in columns["kind"])
    if num_segments:
        raise ConfigError(
            f"{directory.uri}: has {num_segments} video segments; this version scores pictures only"
        )
    return join_annotations(
        columns["image_id"], columns["uri"], annotations, input_annotations=source
    )


def _require_allowed(directory: RunDirectory, proof: Proof, config: EvaluateConfig) -> None:
    if config.allow_incomplete and not proof.duplicated:
        return
    raise IncompleteRunError(f"{directory.uri}: {incompleteness(proof)}")


def _to_annotated_ids(detected: DetectedColumns, join: Join) -> DetectedBoxes:
    order = np.argsort(join.image_ids)
    places = order[np.searchsorted(join.image_ids[order], detected.image_ids)]
    corners = detected.boxes.astype(np.float64)
    found = DetectedBoxes(
        image_ids=join.annotated_ids[places],
        category_ids=detected.category_ids.astype(np.int64),
        boxes=np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        scores=detected.scores.astype(np.float64),
    )
    ranked = canonical_order(found)
    return DetectedBoxes(
        image_ids=found.image_ids[ranked],
        category_ids=found.category_ids[ranked],
        boxes=found.boxes[ranked],
        scores=found.scores[ranked],
    )


def _count_size_mismatches(
    detected: DetectedColumns, join: Join, annotations: CocoAnnotations
) -> int:
    """Count pictures whose annotations were drawn on a picture of another size, or turned."""
    sizes = {image.id: (image.width, image.height) for image in annotations.images}
    annotated = dict(zip(join.image_ids.tolist(), join.annotated_ids.tolist(), strict=True))
    rows = zip(
        detected.row_image_ids.tolist(),
        detected.row_widths.tolist(),
        detected.row_heights.tolist(),
        detected.row_is_ok.tolist(),
        strict=True,
    )
    return sum(ok and sizes[annotated[id_]] != (width, height) for id_, width, height, ok in rows)


def _score(subject: _Subject, annotations: CocoAnnotations) -> dict[str, Any]:
    boxes = annotations.annotations
    scored = np.isin(boxes.image_ids, subject.image_ids)
    truth = TrueBoxes(
        image_ids=boxes.image_ids[scored],
        category_ids=boxes.category_ids[scored],
        boxes=boxes.boxes[scored],
        areas=boxes.areas[scored],
        is_crowd=boxes.is_crowd[scored],
    )
    names = {category.id: category.name for category in annotations.categories}
    metrics = evaluate_boxes(truth, subject.detections, category_ids=list(names))
    num_objects = _count_by_value(truth.category_ids[~truth.is_crowd])
    num_detections = _count_by_value(subject.detections.category_ids)
    counts = {
        "images": len(subject.image_ids),
        **subject.counts,
        "objects": sum(num_objects.values()),
        "crowds": int(truth.is_crowd.sum()),
        "detections": sum(num_detections.values()),
        "detections_of_other_categories": sum(
            count for category_id, count in num_detections.items() if category_id not in names
        ),
    }
    per_category = [
        {
            "category_id": category_id,
            "name": names[category_id],
            "num_objects": num_objects.get(category_id, 0),
            "num_detections": num_detections.get(category_id, 0),
            **numbers,
        }
        for category_id, numbers in metrics.per_category.items()
    ]
    return {
        **metrics.overall,
        **subject.about,
        "annotations": annotations.uri,
        "annotations_sha256": annotations.sha256,
        "areas_filled": boxes.num_areas_filled,
        "order": subject.order,
        "max_detections": list(MAX_DETECTIONS),
        "counts": counts,
        "per_category": per_category,
    }


def _count_by_value(values: npt.NDArray[np.int64]) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _write(config: EvaluateConfig, metrics: dict[str, Any]) -> EvaluateResult:
    paths: dict[str, str] = {}
    if config.out is not None:
        paths["metrics"] = absolute(config.out)
    elif config.run is not None:
        directory = RunDirectory(config.run)
        paths["per_category"] = directory.evaluation_uri("per_category.parquet")
        paths["metrics"] = directory.evaluation_uri("metrics.json")
        table = encode_per_category(metrics["per_category"])
        storage_for(directory.uri).write(paths["per_category"], table)
    if "metrics" in paths:
        document = json.dumps(metrics, indent=2) + "\n"
        storage_for(paths["metrics"]).write(paths["metrics"], document.encode())
    return EvaluateResult(metrics, paths)
