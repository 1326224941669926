"""One HTML page about a run: its accuracy, example images, errors, speed and provenance.

The page is a single file of at most five megabytes, whatever the size of the run: rows are read one
shard at a time, and only a few example images are drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fcos_core.errors import AnnotationError, ConfigError
from jobs.annotations.coco_json import CocoAnnotations, load_annotations
from jobs.annotations.join import require_same_categories
from jobs.html import formats
from jobs.html.page import Page, render
from jobs.html.section import Section
from jobs.inputs.relocated import image_reader
from jobs.reporting.examples.drawn import (
    DrawnExampleSet,
    draw_example_sets,
    without_last,
)
from jobs.reporting.examples.frames import FrameReader
from jobs.reporting.examples.ground_truth import RunGroundTruth
from jobs.reporting.examples.scan import Scan, scan
from jobs.reporting.examples.thumbnails import ThumbnailRenderer
from jobs.reporting.results import Recall, read_curves, read_metrics, read_recall
from jobs.reporting.sections.breakdowns import breakdowns_section
from jobs.reporting.sections.classes import classes_section, curves_section
from jobs.reporting.sections.contents import contents_section, quarantine_section
from jobs.reporting.sections.errors import confusions_section, errors_section
from jobs.reporting.sections.examples import examples_section
from jobs.reporting.sections.headline import headline_section
from jobs.reporting.sections.provenance import provenance_section
from jobs.reporting.sections.recall import ladder_section, recall_section
from jobs.reporting.sections.scores import calibration_section, thresholds_section
from jobs.reporting.sections.throughput import pace_of_videos, read_events, throughput_section
from jobs.reporting.sections.videos import videos_section
from jobs.rundir.directory import RunDirectory
from jobs.rundir.metrics_json import Metrics
from jobs.rundir.proof import Proof, prove
from jobs.rundir.record import RunRecord
from jobs.settings.report import ReportConfig
from jobs.storage import absolute, join, storage_for

_log = logging.getLogger(__name__)

MAX_BYTES = 5_000_000
"""Limit of a page, whatever the size of the run."""

DEFAULT_SCORE = 0.5
"""Least score of a detection that counts, if the evaluation found no best threshold."""


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """The page that was written.

    Attributes:
        run: uri of the run's directory.
        report: uri of the page.
        num_bytes: size of the page.
    """

    run: str
    report: str
    num_bytes: int

    def summary(self) -> dict[str, Any]:
        """The values of the summary line on stdout."""
        return {"run": self.run, "report": self.report, "bytes": self.num_bytes}


def run(
    config: ReportConfig,
    *,
    truth: CocoAnnotations | None = None,
    proof: Proof | None = None,
) -> ReportResult:
    """Write the page.

    Args:
        config: the run, and where the page goes.
        truth: the content of ``config.annotations`` with file names; None to read it here.
        proof: the proof of completeness; None to prove it here.
    """
    directory = RunDirectory(config.run)
    record = directory.read_run_record()
    metrics, recall = read_metrics(directory), read_recall(directory)
    annotations = truth or _annotations(config, metrics)
    joined = None if annotations is None else _joined(directory, record, annotations, metrics)
    found = scan(directory, joined, _score(metrics))
    names = {category.id: category.name for category in record.categories}
    frames = FrameReader.of_examples(directory, found.frame_example_sets, config.image_root)
    renderer = ThumbnailRenderer(image_reader(config.image_root), names, found.score, frames)
    images = draw_example_sets(found.example_sets, renderer)
    frame_images = draw_example_sets(found.frame_example_sets, renderer)
    proof = proof or prove(directory)
    sections = _Sections(
        directory, record, metrics, recall, proof, found, has_ground_truth=joined is not None
    )
    data = _within_budget(sections, images, frame_images)
    uri = absolute(config.out) if config.out else join(directory.uri, "report", "index.html")
    storage_for(uri).write(uri, data)
    return ReportResult(run=directory.uri, report=uri, num_bytes=len(data))


@dataclass(frozen=True, kw_only=False)
class _Sections:
    """Everything on the page except the example images."""

    directory: RunDirectory
    record: RunRecord
    metrics: Metrics | None
    recall: Recall | None
    proof: Proof
    found: Scan
    has_ground_truth: bool

    def page(
        self,
        images: Sequence[DrawnExampleSet],
        frames: Sequence[DrawnExampleSet],
        num_left_out: int,
    ) -> bytes:
        """Write the page with these example images and frames."""
        metrics = None if self.metrics is None else self.metrics.main
        proof, found = self.proof, self.found
        of_videos = (
            None if self.metrics is None or metrics is not self.metrics else self.metrics.video
        )
        events = read_events(self.directory)
        names = {category.id: category.name for category in self.record.categories}
        sections: list[Section] = [
            headline_section(metrics, proof),
            classes_section(metrics),
            curves_section(read_curves(self.directory, metrics), metrics),
            examples_section(
                images, has_ground_truth=self.has_ground_truth, num_left_out=num_left_out
            ),
            videos_section(
                of_videos, proof.videos, found, pace_of_videos(events, self.directory), frames
            ),
            breakdowns_section(found),
            errors_section(metrics),
            confusions_section(metrics, names),
            thresholds_section(metrics),
            calibration_section(metrics),
            ladder_section(metrics),
            recall_section(self.recall),
            contents_section(found, names),
            throughput_section(events),
            quarantine_section(found),
            provenance_section(self.directory, self.record, proof, metrics),
        ]
        return render(
            Page(
                kind="Detection report",
                title=formats.text(self.directory.uri.rstrip("/").rsplit("/", 1)[-1], 80),
                subtitle=_subtitle(self.record, metrics),
                state=_state(proof),
                is_good=proof.complete and not proof.quarantined,
                sections=sections,
                package="jobs.reporting",
            )
        )


def _within_budget(
    sections: _Sections, images: Sequence[DrawnExampleSet], frames: Sequence[DrawnExampleSet]
) -> bytes:
    """Leave out example images until the page is small enough."""
    num_left_out, num_image_sets = 0, len(images)
    every = [*images, *frames]
    while True:
        data = sections.page(every[:num_image_sets], every[num_image_sets:], num_left_out)
        if len(data) <= MAX_BYTES or not any(one.thumbnails for one in every):
            return data
        every, num_left_out = without_last(every), num_left_out + 1


def _annotations(config: ReportConfig, metrics: Metrics | None) -> CocoAnnotations | None:
    """Read the given annotations, by default those that the run was scored against."""
    if config.annotations is not None:
        return load_annotations(config.annotations, names="images and frames")
    if metrics is None:
        return None
    try:
        annotations = load_annotations(metrics.annotations, names="images and frames")
    except (AnnotationError, ConfigError) as error:
        _log.warning("example images are selected without ground truth: %s", error)
        return None
    if annotations.sha256 != metrics.annotations_sha256:
        _log.warning(
            "example images are selected without ground truth: %s has changed since the run was "
            "scored",
            annotations.uri,
        )
        return None
    return annotations


def _joined(
    directory: RunDirectory,
    record: RunRecord,
    annotations: CocoAnnotations,
    metrics: Metrics | None,
) -> RunGroundTruth:
    if metrics is not None and metrics.annotations_sha256 != annotations.sha256:
        raise ConfigError(
            f"{annotations.uri}: {directory.uri} was scored against other annotations "
            f"({metrics.annotations}); run fcos evaluate with these annotations first"
        )
    require_same_categories({c.id: c.name for c in record.categories}, annotations)
    return RunGroundTruth(directory, annotations, record.input_annotations)


def _score(metrics: Metrics | None) -> float:
    """Least score of a detection that counts: the best threshold, if the evaluation found one."""
    if metrics is None or metrics.main.thresholds is None:
        return DEFAULT_SCORE
    return metrics.main.thresholds.score


def _subtitle(record: RunRecord, metrics: Metrics | None) -> str:
    weights = formats.text(record.config.get("weights", "unknown weights"), 80)
    inputs = record.config.get("inputs") or ()
    data = metrics.annotations if metrics is not None else next(iter(inputs), "unknown images")
    data = "/".join(str(data).rstrip("/").split("/")[-2:])  # provenance has the whole path
    return (
        f"FCOS ({formats.text(record.preset, 40)}, weights {weights}) on {formats.text(data, 120)}"
    )


def _state(proof: Proof) -> str:
    planned, ok = formats.count(proof.planned), formats.count(proof.ok)
    num_frames = proof.frames.planned
    noun = "images" if not num_frames else "frames"
    noun = "images and frames" if 0 < num_frames < proof.planned else noun
    if proof.missing:
        return f"Incomplete: {formats.count(proof.missing)} of {planned} {noun} missing"
    if not proof.complete:
        return "Not proved complete: see Provenance"
    if proof.quarantined:
        return f"Complete, {formats.count(proof.quarantined)} of {planned} {noun} quarantined"
    return f"Complete: {ok} of {planned} {noun} processed"
