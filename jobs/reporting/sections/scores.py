"""Which score to cut at, and how far a score can be taken for a probability."""

from __future__ import annotations

from jobs.html import formats
from jobs.html.charts import reliability
from jobs.html.section import Section
from jobs.rundir.metrics_json import Metrics


def thresholds_section(metrics: Metrics | None) -> Section:
    """The score at which F1 over all classes is highest."""
    name, title = "thresholds", "Which score to cut at"
    advice = metrics.thresholds if metrics is not None else None
    if advice is None:
        return Section(name=name, title=title, absent="No threshold was worked out.")
    return Section(
        name=name,
        title=title,
        lead="For those who need a yes or no for every box: the score from which on F1 over all "
        "classes is highest on these images, at IoU 0.50. Each class's own is in the table by "
        "class.",
        data={
            "facts": [
                ("keep scores from", f"{advice.score:.3f}"),
                ("precision there", formats.percent(advice.precision)),
                ("recall there", formats.percent(advice.recall)),
                ("F1 there", formats.share(advice.f1)),
            ]
        },
    )


def calibration_section(metrics: Metrics | None) -> Section:
    """How often detections of a score are right."""
    name, title = "calibration", "What a score is worth"
    calibration = metrics.calibration if metrics is not None else None
    bins = [] if calibration is None else [one for one in calibration.bins if one.count]
    if calibration is None or not bins:
        return Section(name=name, title=title, absent="Scores were not compared with the truth.")
    return Section(
        name=name,
        title=title,
        lead="The share of detections that find an object at IoU 0.50, by score. On the dashed "
        "line, a score would be the probability of being right; the mean distance from it is "
        f"{calibration.ece:.3f}.",
        data={
            "figures": [
                reliability(
                    "Detections that are right, by score",
                    [(one.low, one.high, one.precision or 0.0, one.count) for one in bins],
                    y_title="share that is right",
                )
            ]
        },
    )
