"""One HTML page about a run: how good it is, on what, where it fails and how fast it was.

The page is a single file of at most five megabytes, whatever the size of the run: rows are read one
shard at a time, and only the images that stand out are drawn.
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
from jobs.html.page import MAX_BYTES, Page, render
from jobs.html.section import Section
from jobs.inputs.relocated import image_reader
from jobs.reporting.examples.frames import FrameReader
from jobs.reporting.examples.panels import DrawnPanel, draw_panels, panels_section, without_last
from jobs.reporting.examples.scan import Scan, scan
from jobs.reporting.examples.thumbnails import Drawer
from jobs.reporting.examples.truth import Truth
from jobs.reporting.results import read_curves, read_metrics, read_recall
from jobs.reporting.sections.breakdowns import breakdowns_section
from jobs.reporting.sections.classes import classes_section, curves_section
from jobs.reporting.sections.contents import contents_section, quarantine_section
from jobs.reporting.sections.headline import headline_section
from jobs.reporting.sections.mistakes import confusions_section, errors_section
from jobs.reporting.sections.provenance import provenance_section
from jobs.reporting.sections.recall import ladder_section, recall_section
from jobs.reporting.sections.scores import calibration_section, thresholds_section
from jobs.reporting.sections.throughput import pace_of_videos, read_work, throughput_section
from jobs.reporting.sections.videos import videos_section
from jobs.rundir.directory import RunDirectory, RunRecord
from jobs.rundir.metrics_json import Metrics
from jobs.rundir.proof import Proof, prove
from jobs.settings.report import ReportConfig
from jobs.storage import absolute, join, storage_for

_log = logging.getLogger(__name__)

USUAL_SCORE = 0.5
"""From which on detections count where no better threshold is known."""


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """The page that was written.

    Attributes:
        run: uri of the run's directory.
        report: uri of the page.
        num_bytes: of the page.
    """

    run: str
    report: str
    num_bytes: int

    def summary(self) -> dict[str, Any]:
        """What the command's last line on stdout says."""
        return {"run": self.run, "report": self.report, "bytes": self.num_bytes}


def run(
    config: ReportConfig,
    *,
    truth: CocoAnnotations | None = None,
    proof: Proof | None = None,
) -> ReportResult:
    """Write the page.

    Args:
        config: what to report on.
        truth: the content of ``config.annotations``, file names included, where the caller has it.
        proof: of the run, where the caller has it already.
    """
    directory = RunDirectory(config.run)
    record = directory.read_run_record()
    metrics = read_metrics(directory)
    annotations = truth or _annotations(config, metrics)
    joined = None if annotations is None else _joined(directory, record, annotations, metrics)
    found = scan(directory, joined, _score(metrics))
    names = {category.id: category.name for category in record.categories}
    frames = FrameReader.of_panels(directory, found.frame_panels, config.image_root)
    drawer = Drawer(image_reader(config.image_root), names, found.score, frames)
    panels = draw_panels(found.panels, drawer)
    frame_panels = draw_panels(found.frame_panels, drawer)
    proof = proof or prove(directory)
    sections = _Sections(directory, record, metrics, proof, found, is_judged=joined is not None)
    data = _within_budget(sections, panels, frame_panels)
    uri = absolute(config.out) if config.out else join(directory.uri, "report", "index.html")
    storage_for(uri).write(uri, data)
    return ReportResult(run=directory.uri, report=uri, num_bytes=len(data))


@dataclass(frozen=True, kw_only=False)
class _Sections:
    """Everything that the page is made of, but for its images."""

    directory: RunDirectory
    record: RunRecord
    metrics: Metrics | None
    proof: Proof
    found: Scan
    is_judged: bool

    def page(
        self, panels: Sequence[DrawnPanel], frame_panels: Sequence[DrawnPanel], num_left_out: int
    ) -> bytes:
        """Write the page with these images and frames."""
        metrics = None if self.metrics is None else self.metrics.main
        proof, found = self.proof, self.found
        apart = None if self.metrics is None or metrics is not self.metrics else self.metrics.video
        work = read_work(self.directory)
        names = {category.id: category.name for category in self.record.categories}
        images = panels_section(
            panels,
            is_judged=self.is_judged,
            num_left_out=num_left_out,
        )
        sections: list[Section] = [
            headline_section(metrics, proof),
            classes_section(metrics),
            curves_section(read_curves(self.directory, metrics), metrics),
            images,
            videos_section(
                apart, proof.videos, found, pace_of_videos(work, self.directory), frame_panels
            ),
            breakdowns_section(found),
            errors_section(metrics),
            confusions_section(metrics, names),
            thresholds_section(metrics),
            calibration_section(metrics),
            ladder_section(metrics),
            recall_section(read_recall(self.directory)),
            contents_section(found, names),
            throughput_section(work),
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
    sections: _Sections, panels: Sequence[DrawnPanel], frame_panels: Sequence[DrawnPanel]
) -> bytes:
    """Leave out images until the page is small enough."""
    num_left_out, num_images = 0, len(panels)
    every = [*panels, *frame_panels]
    while True:
        data = sections.page(every[:num_images], every[num_images:], num_left_out)
        if len(data) <= MAX_BYTES or not any(panel.thumbnails for panel in every):
            return data
        every, num_left_out = without_last(every), num_left_out + 1


def _annotations(config: ReportConfig, metrics: Metrics | None) -> CocoAnnotations | None:
    """Read the annotations that were asked for, or those that the run was scored against."""
    if config.annotations is not None:
        return load_annotations(config.annotations, names="images and frames")
    if metrics is None:
        return None
    try:
        annotations = load_annotations(metrics.annotations, names="images and frames")
    except (AnnotationError, ConfigError) as error:
        _log.warning("images are chosen without ground truth: %s", error)
        return None
    if annotations.sha256 != metrics.annotations_sha256:
        _log.warning(
            "images are chosen without ground truth: %s has changed since the run was scored",
            annotations.uri,
        )
        return None
    return annotations


def _joined(
    directory: RunDirectory,
    record: RunRecord,
    annotations: CocoAnnotations,
    metrics: Metrics | None,
) -> Truth:
    """Join the annotations to the run.

    Raises:
        ConfigError: the run was scored against others.
    """
    if metrics is not None and metrics.annotations_sha256 != annotations.sha256:
        raise ConfigError(
            f"{annotations.uri}: {directory.uri} was scored against other annotations "
            f"({metrics.annotations}); score it against these first: fcos evaluate"
        )
    require_same_categories({c.id: c.name for c in record.categories}, annotations)
    return Truth(directory, annotations, record.input_annotations)


def _score(metrics: Metrics | None) -> float:
    """From which on detections count: the best threshold where one was worked out."""
    if metrics is None or metrics.main.thresholds is None:
        return USUAL_SCORE
    return metrics.main.thresholds.score


def _subtitle(record: RunRecord, metrics: Metrics | None) -> str:
    weights = formats.text(record.config.get("weights", "unknown weights"), 80)
    inputs = record.config.get("inputs") or ()
    data = metrics.annotations if metrics is not None else next(iter(inputs), "unknown images")
    data = "/".join(str(data).rstrip("/").split("/")[-2:])  # the whole path is said below
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
        return "Not proved complete: see what was run"
    if proof.quarantined:
        return f"Complete, {formats.count(proof.quarantined)} of {planned} {noun} quarantined"
    return f"Complete: {ok} of {planned} {noun} looked at"
