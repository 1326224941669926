"""Score a run, or a COCO results file, against COCO annotations: the twelve numbers.

A run's detections are scored in a stated order that depends only on their content; a results file
in its own order, as pycocotools scores it. The frames of a run's videos are scored separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from fcos_core.errors import ConfigError
from fcos_core.metrics.coco import METRIC_NAMES
from jobs.annotations.coco_json import CocoAnnotations, load_annotations
from jobs.parallel.map_blocks import map_blocks, num_workers_for
from jobs.rundir.directory import RunDirectory
from jobs.rundir.metrics_json import Metrics
from jobs.rundir.proof import Proof
from jobs.scoring.comparing import compare, compare_frames, require_same_images
from jobs.scoring.evaluation_tables import encode_tables
from jobs.scoring.scores import MapBlocks, Scores, score
from jobs.scoring.subjects import (
    RunSubjects,
    Subject,
    log_filled_in,
    subject_of_results,
    subjects_of_run,
)
from jobs.settings.evaluate import EvaluateConfig
from jobs.storage import absolute, storage_for

# One process scores 5,000 images of 100 detections in 3.3 s, and Ray takes some 14 s to start
# (benchmarks/results, evaluate and bpr): from here on even two processes pay.
_WORTH_RAY = 100_000
_RESAMPLES_TO_COMPARE = 200


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
        """The twelve numbers of the images."""
        return {name: self.metrics[name] for name in METRIC_NAMES}

    @property
    def video(self) -> dict[str, Any]:
        """The twelve numbers of the frames of videos and their counts; empty without videos."""
        metrics = self.metrics.get("video")
        if metrics is None:
            return {}
        return {**{name: metrics[name] for name in METRIC_NAMES}, **metrics["counts"]}

    def summary(self) -> dict[str, Any]:
        """What the command's last line on stdout says."""
        subject = {name: self.metrics[name] for name in ("run", "results") if name in self.metrics}
        counts = self.metrics["counts"]
        complete = self.metrics["complete"]
        return {
            **subject,
            **self.headline,
            "complete": complete,
            **counts,
            **({"video": self.video} if self.video else {}),
            "paths": self.paths,
        }


def run(
    config: EvaluateConfig,
    *,
    truth: CocoAnnotations | None = None,
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
    truth = truth or load_annotations(
        config.annotations, names="none" if config.run is None else "images and frames"
    )
    log_filled_in(truth)
    whole = _subjects(config, config.run, truth, proof)
    against = None if config.against is None else _subjects(config, config.against, truth)
    scores = _RunScores.of(whole, truth, config)
    num_resamples = config.resamples or (_RESAMPLES_TO_COMPARE if config.against else 0)
    resamples = None
    mapper = _mapper(config, whole.images)
    if num_resamples and scores.images.num_images:
        resamples = scores.images.resample(num_resamples, mapper)
    more: dict[str, Any] = {}
    # No intervals of frames: those of one video are no independent samples.
    video = None if scores.frames is None else scores.frames.describe(truth, None)
    if against is not None:
        others = _RunScores.of(against, truth, config)
        scores.require_same_images(others)
        if resamples is not None:
            pair = (resamples, others.images.resample(num_resamples, mapper))
            more["comparison"] = compare(scores.images, others.images, pair)
        if scores.frames is not None and others.frames is not None:
            assert truth.frames is not None
            compared = compare_frames(scores.frames, others.frames, truth.frames)
            video = video and video.model_copy(update={"comparison": compared})
    if video is not None:
        more["video"] = video
    metrics = scores.images.describe(truth, resamples).model_copy(update=more)
    return _write(config, metrics, scores)


@dataclass(frozen=True)
class _RunScores:
    """The scores of images, and of the frames of videos where there are any."""

    images: Scores
    frames: Scores | None

    @classmethod
    def of(
        cls, subjects: RunSubjects, truth: CocoAnnotations, config: EvaluateConfig
    ) -> _RunScores:
        images, frames = subjects.images, subjects.frames
        return cls(
            score(images, truth, _mapper(config, images)),
            None if frames is None else score(frames, truth, _mapper(config, frames)),
        )

    def require_same_images(self, others: _RunScores) -> None:
        require_same_images(self.images, others.images)
        if self.frames is not None and others.frames is not None:
            require_same_images(self.frames, others.frames)
        elif (self.frames is None) != (others.frames is None):
            raise ConfigError("--against: only one of the two runs has videos")


def _mapper(config: EvaluateConfig, subject: Subject) -> MapBlocks:
    num_workers = num_workers_for(config.num_actors, len(subject.image_ids), worth_ray=_WORTH_RAY)
    return partial(map_blocks, num_workers=num_workers, address=config.address)


def _subjects(
    config: EvaluateConfig, run: str | None, truth: CocoAnnotations, proof: Proof | None = None
) -> RunSubjects:
    if run is None:
        assert config.results is not None
        return RunSubjects(subject_of_results(config.results, truth), None)
    return subjects_of_run(
        RunDirectory(run), truth, allow_incomplete=config.allow_incomplete, proof=proof
    )


def _write(config: EvaluateConfig, metrics: Metrics, scores: _RunScores) -> EvaluateResult:
    document = metrics.document()
    paths: dict[str, str] = {}
    if config.out is not None:
        paths["metrics"] = absolute(config.out)
    elif config.run is not None:
        directory = RunDirectory(config.run)
        tables = encode_tables("", document, scores.images.explanation)
        if scores.frames is not None:
            tables |= encode_tables("video/", document["video"], scores.frames.explanation)
        for name, table in tables.items():
            paths[name] = directory.evaluation_uri(f"{name}.parquet")
            storage_for(directory.uri).write(paths[name], table)
        paths["metrics"] = directory.evaluation_uri("metrics.json")
    if "metrics" in paths:
        storage_for(paths["metrics"]).write(paths["metrics"], metrics.encode())
    return EvaluateResult(document, paths)
