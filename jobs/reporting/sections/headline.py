"""COCO's twelve numbers with their intervals, counts and caveats."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.html import formats
from jobs.html.section import Section
from jobs.rundir.metrics_json import Metrics
from jobs.rundir.proof import Proof

_PRECISION = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "objects below 32² px",
    "APm": "32² to 96² px",
    "APl": "above 96² px",
}
_RECALL = {
    "AR1": "1 detection per class",
    "AR10": "10 detections per class",
    "AR100": "100 detections per class",
    "ARs": "objects below 32² px",
    "ARm": "32² to 96² px",
    "ARl": "above 96² px",
}


@dataclass(frozen=True, kw_only=True)
class Number:
    """One of COCO's twelve numbers, 0..1; negative if undefined.

    The bootstrap interval is None if the evaluation measured none.
    """

    name: str
    hint: str
    value: float
    interval: tuple[float, float] | None

    @property
    def text(self) -> str:
        return formats.share(self.value)

    @property
    def interval_text(self) -> str:
        """The interval as text; empty if there is none."""
        if self.interval is None or self.value < 0:
            return ""
        return f"{self.interval[0]:.3f} to {self.interval[1]:.3f}"


def headline_section(metrics: Metrics | None, proof: Proof) -> Section:
    """The twelve numbers, the counts behind them and their caveats."""
    name, title = "headline", "Accuracy"
    if metrics is None:
        return Section(
            name=name,
            title=title,
            absent="The run was not scored. Command: fcos evaluate RUN --annotations FILE.",
        )
    (_, precision), (_, recall) = numbers_of(metrics)
    return Section(
        name=name,
        title=title,
        data={
            "precision": precision,
            "recall": recall,
            "counts": _counts(metrics, proof),
            "caveats": _caveats(metrics, proof),
            "interval": _about_intervals(metrics),
        },
    )


def numbers_of(metrics: Metrics) -> list[tuple[str, list[Number]]]:
    """COCO's twelve numbers: precision and recall, each under its title."""
    intervals = metrics.intervals or {}
    return [
        (
            title,
            [
                Number(name=key, hint=hint, value=metrics.numbers[key], interval=intervals.get(key))
                for key, hint in hints.items()
            ],
        )
        for title, hints in (("Average precision", _PRECISION), ("Average recall", _RECALL))
    ]


def _counts(metrics: Metrics, proof: Proof) -> list[tuple[str, str]]:
    noun = f"{metrics.noun}s"
    shown = {
        "frames" if metrics.is_about_frames else "images": f"{noun} scored",
        "objects": "annotated objects",
        "detections": "detections",
        "crowds": "crowd regions",
    }
    counted = [(label, metrics.counts.get(key, 0)) for key, label in shown.items()]
    quarantined, missing = _quarantined_and_missing(metrics, proof)
    counted += [(f"{noun} quarantined", quarantined), (f"{noun} missing", missing)]
    return [(label, formats.count(value)) for label, value in counted]


def _quarantined_and_missing(metrics: Metrics, proof: Proof) -> tuple[int, int]:
    """Numbers of images, or of frames if the metrics are about frames, as of now."""
    frames = proof.frames
    if metrics.is_about_frames:
        return frames.quarantined, frames.missing
    return proof.quarantined - frames.quarantined, proof.missing - frames.missing


def _caveats(metrics: Metrics, proof: Proof) -> list[str]:
    """What a reader must know before citing the numbers."""
    caveats: list[str] = []
    if proof.digest is None or metrics.digest != proof.digest:
        caveats.append(
            "The run was incomplete when it was scored, or its rows have changed since: the scored "
            "digest differs from the present one."
        )
    quarantined, missing = _quarantined_and_missing(metrics, proof)
    noun = metrics.noun
    if missing:
        caveats.append(f"Missing from the run: {formats.counted(missing, noun)}.")
    if quarantined:
        caveats.append(
            f"{formats.counted(quarantined, noun)} could not be used and counted as having no "
            "detections."
        )
    counts = metrics.counts
    if counts.get("size_mismatches"):
        caveats.append(
            "The size differs from the annotation file: "
            f"{formats.counted(counts['size_mismatches'], noun)}."
        )
    if counts.get("not_in_run"):
        caveats.append(
            f"{formats.counted(counts['not_in_run'], f'annotated {noun}')} not in this run, and "
            "therefore not scored."
        )
    for key, why in _LEFT_OUT.items():
        if counts.get(key):
            caveats.append(f"{formats.count(counts[key])} {why}")
    if metrics.score_threshold is not None and metrics.score_threshold > _MAX_SCORE_THRESHOLD:
        caveats.append(
            f"Detections with a score below {metrics.score_threshold:g} were not kept, so the "
            "precision-recall curves end early."
        )
    return caveats


_MAX_SCORE_THRESHOLD = 0.1
_LEFT_OUT = {
    "sampled_away": "annotated frames of these videos were not sampled, and are not scored.",
    "beyond_end": "annotated frames lie behind the end of their videos, and are not scored.",
    "frames_not_annotated": "frames of videos are not scored: the annotations have images only.",
    "images_not_annotated": "images are not scored: the annotations have frames only.",
}
"""Why annotated or detected images and frames are not scored, by the name of their count."""


def _about_intervals(metrics: Metrics) -> str:
    if metrics.intervals is None:
        return ""
    if metrics.bootstrap is None:
        return "The ranges below the numbers are bootstrap intervals over images."
    bootstrap = metrics.bootstrap
    return (
        f"The ranges below the numbers are {formats.percent(bootstrap.level, 0)} bootstrap "
        f"intervals over images ({formats.count(bootstrap.resamples)} resamples)."
    )
