"""Score a run, or a COCO results file, against COCO annotations: the twelve numbers.

A run's detections are scored in a stated order that depends on nothing but their content; a
results file in its own order, as pycocotools scores it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fcos_core.errors import ConfigError, IncompleteRunError
from fcos_core.metrics.bpr import DEFAULT_RULES
from fcos_core.metrics.coco import (
    CANONICAL_ORDER,
    MAX_DETECTIONS,
    METRIC_NAMES,
    Settings,
    metrics_of,
    unpacked,
)
from jobs.runtime.block_tasks import map_blocks
from jobs.runtime.summary import incompleteness
from jobs.scoring.blocks import ScoringBlock, blocks_of_results, blocks_of_run
from jobs.scoring.explaining import Explanation, explain, resampled_intervals
from jobs.scoring.measuring import BlockScores, measure_block
from jobs.storage import absolute, storage_for
from jobs.tables.box_annotations import BoxAnnotations, read_box_annotations
from jobs.tables.coco_json import load_results
from jobs.tables.joining import Join, join_annotations, require_same_categories
from jobs.tables.json_columns import Int64Array
from jobs.tables.per_category import encode_curves, encode_per_category
from jobs.tables.proof import Proof, prove
from jobs.tables.run_directory import RunDirectory

_log = logging.getLogger(__name__)

_FILE_ORDER = "the results file's own"
# Images that one process scores in the time it takes to start Ray and its workers.
_WORTH_RAY = 100_000


class EvaluateConfig(BaseModel):
    """What to score, and against what.

    Attributes:
        run: the run's directory; either this or ``results``.
        annotations: COCO annotation file.
        results: COCO results file to score instead of a run.
        out: file for the metrics; by default the run's ``evaluation/metrics.json``.
        allow_incomplete: score a run with missing rows; their images count as without detections.
        resamples: of the images, for intervals around the numbers; 0 gives none.
        num_actors: processes; ``auto`` is one unless there is enough to do for Ray to pay.
        address: of a Ray cluster; None starts one on this machine when one is needed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str | None = None
    annotations: str
    results: str | None = None
    out: str | None = None
    allow_incomplete: bool = False
    resamples: Annotated[int, Field(ge=0, le=100_000)] = 0
    num_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    address: str | None = None

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
        curves: what ``curves.parquet`` holds.
        paths: uris of the files written, by what they are.
    """

    metrics: dict[str, Any]
    curves: dict[str, Any]
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
    """What is scored: blocks of the images that count, with their detections."""

    blocks: Iterable[ScoringBlock]
    image_ids: Int64Array
    order: str
    rule: str
    counts: dict[str, int]
    about: dict[str, Any] = field(default_factory=dict[str, Any])


def run(
    config: EvaluateConfig,
    *,
    truth: BoxAnnotations | None = None,
    proof: Proof | None = None,
) -> EvaluateResult:
    """Score detections and write the metrics.

    Args:
        config: what to score.
        truth: the content of ``config.annotations``, file names included, where the caller has it.
        proof: of the run, where the caller has it already.

    Returns:
        The metrics and the paths written.
    """
    truth = truth or read_box_annotations(
        config.annotations, with_file_names=config.run is not None
    )
    _say_what_is_filled_in(truth)
    if config.run is not None:
        subject = _subject_of_run(RunDirectory(config.run), truth, config, proof)
    else:
        assert config.results is not None
        subject = _subject_of_results(config.results, truth)
    return _write(config, *_score(subject, truth, config))


def _say_what_is_filled_in(truth: BoxAnnotations) -> None:
    if (truth.ids == 0).any():
        # pycocotools keeps the id of the box a detection found, and takes 0 for none.
        _log.info("%s: has an annotation of id 0; ids are counted from 1 anew", truth.uri)
    if truth.num_areas_filled:
        _log.info(
            "%s: %d annotations have no area; it is taken from their boxes",
            truth.uri,
            truth.num_areas_filled,
        )


def _subject_of_run(
    directory: RunDirectory, truth: BoxAnnotations, config: EvaluateConfig, proof: Proof | None
) -> _Subject:
    record = directory.read_run_record()
    require_same_categories({c.id: c.name for c in record.categories}, truth)
    join, item_shards = _join(directory, truth, record.input_annotations)
    proof = proof or prove(directory)
    if not proof.complete:
        _require_allowed(directory, proof, config)
    return _Subject(
        blocks=blocks_of_run(directory, join, item_shards, truth),
        image_ids=np.sort(join.annotated_ids),
        order=CANONICAL_ORDER,
        rule=record.preset if record.preset in DEFAULT_RULES else DEFAULT_RULES[0],
        counts={
            "quarantined": proof.quarantined,
            "missing": proof.missing,
            "not_in_run": join.num_not_in_run,
            "size_mismatches": 0,  # counted with the blocks
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


def _subject_of_results(uri: str, truth: BoxAnnotations) -> _Subject:
    results = load_results(uri, truth)
    return _Subject(
        blocks=blocks_of_results(results, truth),
        image_ids=np.sort(truth.image_ids),
        order=_FILE_ORDER,
        rule=DEFAULT_RULES[0],
        counts={},
        about={"results": results.uri, "results_sha256": results.sha256, "complete": True},
    )


def _join(
    directory: RunDirectory, truth: BoxAnnotations, source: str | None
) -> tuple[Join, Int64Array]:
    """Find the annotated image of every picture, and the shard that holds it.

    Raises:
        ConfigError: the run has videos.
    """
    manifest = cast("Any", directory).read_manifest_table()  # pyarrow has no types
    columns: dict[str, list[Any]] = manifest.select(["kind", "image_id", "uri"]).to_pydict()
    num_segments = sum(kind != "image" for kind in columns["kind"])
    if num_segments:
        raise ConfigError(
            f"{directory.uri}: has {num_segments} video segments; this version scores pictures only"
        )
    join = join_annotations(columns["image_id"], columns["uri"], truth, input_annotations=source)
    return join, manifest.column("shard").to_numpy().astype(np.int64)


def _require_allowed(directory: RunDirectory, proof: Proof, config: EvaluateConfig) -> None:
    if config.allow_incomplete and not proof.duplicated:
        return
    raise IncompleteRunError(f"{directory.uri}: {incompleteness(proof)}")


def _score(
    subject: _Subject, truth: BoxAnnotations, config: EvaluateConfig
) -> tuple[dict[str, Any], Explanation]:
    names = {c.id: c.name for c in sorted(truth.categories, key=lambda category: category.id)}
    category_ids = list(names)
    settings = Settings()
    num_images = len(subject.image_ids)
    spread = partial(
        map_blocks, num_workers=_num_workers(config, num_images), address=config.address
    )
    parts = list(
        spread(
            partial(
                measure_block,
                category_ids=np.array(category_ids, np.int64),
                image_ids=subject.image_ids,
                rule=subject.rule,
                settings=settings,
            ),
            subject.blocks,
        )
    )
    matches = [part.matches for part in parts]
    metrics = metrics_of(unpacked(matches), category_ids, settings)
    explained = explain([part.explanation for part in parts], matches, metrics, names, settings)
    intervals: dict[str, Any] = {}
    if config.resamples and num_images:
        intervals = resampled_intervals(
            matches,
            [part.wanted for part in parts],
            category_ids,
            num_images=num_images,
            num_resamples=config.resamples,
            settings=settings,
            spread=spread,
        )
    num_objects = sum((part.num_objects for part in parts), Counter[int]())
    num_detections = sum((part.num_detections for part in parts), Counter[int]())
    document = {
        **metrics.overall,
        **subject.about,
        "annotations": truth.uri,
        "annotations_sha256": truth.sha256,
        "areas_filled": truth.num_areas_filled,
        "order": subject.order,
        "max_detections": list(MAX_DETECTIONS),
        "counts": _counts(subject, parts, names),
        **intervals,
        "assignable_by": subject.rule,
        **explained.summary,
        "per_category": [
            {
                "category_id": category_id,
                "name": names[category_id],
                "num_objects": num_objects[category_id],
                "num_detections": num_detections[category_id],
                **explained.per_category[category_id],
                **numbers,
            }
            for category_id, numbers in metrics.per_category.items()
        ],
    }
    return document, explained


def _num_workers(config: EvaluateConfig, num_images: int) -> int | None:
    if config.num_actors != "auto":
        return config.num_actors
    return 1 if num_images < _WORTH_RAY else None


def _counts(
    subject: _Subject, parts: Iterable[BlockScores], names: dict[int, str]
) -> dict[str, int]:
    counts = {"images": len(subject.image_ids), **subject.counts}
    counts |= dict.fromkeys(
        ("objects", "crowds", "detections", "detections_of_other_categories"), 0
    )
    for part in parts:
        if "size_mismatches" in counts:
            counts["size_mismatches"] += part.num_size_mismatches
        counts["objects"] += part.num_objects.total()
        counts["crowds"] += part.num_crowds
        counts["detections"] += part.num_detections.total()
        counts["detections_of_other_categories"] += sum(
            count for category_id, count in part.num_detections.items() if category_id not in names
        )
    return counts


def _write(
    config: EvaluateConfig, metrics: dict[str, Any], explained: Explanation
) -> EvaluateResult:
    paths: dict[str, str] = {}
    if config.out is not None:
        paths["metrics"] = absolute(config.out)
    elif config.run is not None:
        directory = RunDirectory(config.run)
        tables = {
            "per_category": encode_per_category(metrics["per_category"]),
            "curves": encode_curves(explained.curves),
        }
        for name, table in tables.items():
            paths[name] = directory.evaluation_uri(f"{name}.parquet")
            storage_for(directory.uri).write(paths[name], table)
        paths["metrics"] = directory.evaluation_uri("metrics.json")
    if "metrics" in paths:
        document = json.dumps(metrics, indent=2) + "\n"
        storage_for(paths["metrics"]).write(paths["metrics"], document.encode())
    return EvaluateResult(metrics, explained.curves, paths)
