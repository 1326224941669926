"""The twelve numbers, and what stands beside them so that they are not misread."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.html import formats
from jobs.html.section import Section
from jobs.rundir.metrics_json import Metrics
from jobs.rundir.proof import Proof

_PRECISION = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "IoU 0.50 is enough",
    "AP75": "IoU 0.75 is needed",
    "APs": "objects below 32² px",
    "APm": "32² to 96² px",
    "APl": "above 96² px",
}
_RECALL = {
    "AR1": "one per class",
    "AR10": "ten",
    "AR100": "a hundred",
    "ARs": "objects below 32² px",
    "ARm": "32² to 96² px",
    "ARl": "above 96² px",
}


@dataclass(frozen=True, kw_only=True)
class Number:
    """One of the twelve.

    Attributes:
        name: COCO's.
        hint: what it means.
        value: 0..1; negative where undefined.
        interval: within which it likely lies; None where that was not measured.
    """

    name: str
    hint: str
    value: float
    interval: tuple[float, float] | None

    @property
    def text(self) -> str:
        """The number as it is written."""
        return formats.share(self.value)

    @property
    def interval_text(self) -> str:
        """The interval as it is written; empty without one."""
        if self.interval is None or self.value < 0:
            return ""
        return f"{self.interval[0]:.3f} to {self.interval[1]:.3f}"


def headline_section(metrics: Metrics | None, proof: Proof) -> Section:
    """The numbers, the counts behind them and every reason to doubt them."""
    name, title = "headline", "Accuracy"
    if metrics is None:
        return Section(
            name=name,
            title=title,
            absent="The run was not scored: fcos evaluate RUN --annotations FILE does it.",
        )
    (_, precision), (_, recall) = numbers_of(metrics)
    return Section(
        name=name,
        title=title,
        data={
            "precision": precision,
            "recall": recall,
            "counts": _counts(metrics, proof),
            "doubts": _doubts(metrics, proof),
            "interval": _about_intervals(metrics),
        },
    )


def numbers_of(metrics: Metrics) -> list[tuple[str, list[Number]]]:
    """The twelve, as they are written: precision and recall, each under its title."""
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
    counted += [
        (f"{noun} quarantined", _quarantined(metrics, proof)),
        (f"{noun} missing", _missing(metrics, proof)),
    ]
    return [(label, formats.count(value)) for label, value in counted]


def _quarantined(metrics: Metrics, proof: Proof) -> int:
    """As they are now: of what the numbers are about."""
    frames = proof.frames.quarantined
    return frames if metrics.is_about_frames else proof.quarantined - frames


def _missing(metrics: Metrics, proof: Proof) -> int:
    frames = proof.frames.missing
    return frames if metrics.is_about_frames else proof.missing - frames


def _doubts(metrics: Metrics, proof: Proof) -> list[str]:
    """What a reader must know before quoting the numbers."""
    doubts: list[str] = []
    if proof.digest is None or metrics.digest != proof.digest:
        doubts.append(
            "The rows were incomplete, or have changed, when they were scored: their digest is not "
            "that of the run as it is now."
        )
    noun, missing, quarantined = (
        metrics.noun, _missing(metrics, proof), _quarantined(metrics, proof)
    )  # fmt: skip
    if missing:
        doubts.append(f"Missing from the run: {formats.counted(missing, noun)}.")
    if quarantined:
        doubts.append(
            f"{formats.counted(quarantined, noun)} could not be used and counted as "
            "without detections."
        )
    counts = metrics.counts
    if counts.get("size_mismatches"):
        doubts.append(
            "Of another size than their annotations say: "
            f"{formats.counted(counts['size_mismatches'], noun)}."
        )
    if counts.get("not_in_run"):
        doubts.append(
            f"{formats.counted(counts['not_in_run'], f'annotated {noun}')} not in this run and not "
            "scored."
        )
    for key, why in _LEFT_OUT.items():
        if counts.get(key):
            doubts.append(f"{formats.count(counts[key])} {why}")
    if metrics.score_threshold is not None and metrics.score_threshold > _LATE_CUT:
        doubts.append(
            f"Detections below a score of {metrics.score_threshold:g} were never kept, which cuts "
            "the precision-recall curves short."
        )
    return doubts


_LATE_CUT = 0.1
_LEFT_OUT = {
    "sampled_away": "annotated frames of these videos were not asked for, and are not scored.",
    "beyond_end": "annotated frames lie behind the end of their videos, and are not scored.",
    "frames_not_annotated": "frames of videos are not scored: the annotations have images only.",
    "images_not_annotated": "images are not scored: the annotations have frames only.",
}
"""What was counted, and why it does not count."""


def _about_intervals(metrics: Metrics) -> str:
    if metrics.intervals is None:
        return ""
    if metrics.bootstrap is None:
        return "Ranges below the numbers say how far they would move with other images."
    bootstrap = metrics.bootstrap
    return (
        f"Ranges below the numbers are {formats.percent(bootstrap.level, 0)} bootstrap intervals "
        f"over images ({formats.count(bootstrap.resamples)} resamples)."
    )
