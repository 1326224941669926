"""The best score threshold, and the calibration of scores."""

from __future__ import annotations

from jobs.html import formats
from jobs.html.charts import reliability
from jobs.html.section import Section
from jobs.rundir.metrics_json import Metrics


def thresholds_section(metrics: Metrics | None) -> Section:
    """The score threshold at which F1 over all classes is highest."""
    name, title = "thresholds", "Best score threshold"
    best = metrics.thresholds if metrics is not None else None
    if best is None:
        return Section(name=name, title=title, absent="The evaluation found no best threshold.")
    return Section(
        name=name,
        title=title,
        lead="The score threshold at which F1 over all classes is highest on these images, at IoU "
        "0.50. The table of accuracy by class has the best threshold of each class.",
        data={
            "facts": [
                ("keep scores from", f"{best.score:.3f}"),
                ("precision", formats.percent(best.precision)),
                ("recall", formats.percent(best.recall)),
                ("F1", formats.share(best.f1)),
            ]
        },
    )


def calibration_section(metrics: Metrics | None) -> Section:
    """The precision of detections by score."""
    name, title = "calibration", "Calibration"
    calibration = metrics.calibration if metrics is not None else None
    bins = [] if calibration is None else [one for one in calibration.bins if one.count]
    if calibration is None or not bins:
        return Section(name=name, title=title, absent="The evaluation did not measure calibration.")
    return Section(
        name=name,
        title=title,
        lead="The share of detections that match an object at IoU 0.50, by score. On the dashed "
        "line, a score equals the probability of a true positive. The mean distance from the line "
        f"(expected calibration error) is {calibration.ece:.3f}.",
        data={
            "figures": [
                reliability(
                    "Precision by score",
                    [(one.low, one.high, one.precision or 0.0, one.count) for one in bins],
                    y_title="precision",
                )
            ]
        },
    )
