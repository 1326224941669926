"""Accuracy by class, and precision-recall curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fcos_core.metrics.coco import AP50_IOU, AP75_IOU
from jobs.html import formats
from jobs.html.charts import Figure, Series, line_chart, share_axis
from jobs.html.section import Section
from jobs.html.tabular import (
    Cell,
    Column,
    Table,
    count_cell,
    name_cell,
    share_cell,
    table,
)
from jobs.media.drawing.colors import hex_color
from jobs.media.drawing.palette import class_color
from jobs.reporting.results import Curve
from jobs.rundir.metrics_json import CategoryMetrics, Metrics

_NUM_CURVES = 8
_OVERALL = {None: "mean of all IoUs", AP50_IOU: "IoU 0.50", AP75_IOU: "IoU 0.75"}
_SAME_IOU = 1e-6


def swatch(category_id: int) -> str:
    """The colour of a class, the same as on drawn images."""
    return hex_color(class_color(category_id))


def classes_section(metrics: Metrics | None) -> Section:
    """AP, AR and the best threshold of each class."""
    name, title = "classes", "Accuracy by class"
    if metrics is None or not metrics.per_category:
        return Section(
            name=name, title=title, absent="Accuracy by class is not known: the run was not scored."
        )
    has_thresholds = any(one.best_threshold is not None for one in metrics.per_category)
    lead = "Select a heading to sort. A class without annotated objects has dashes."
    if has_thresholds:
        lead += (
            " The best threshold is the score threshold at which F1 of the class at IoU 0.50 is "
            "highest."
        )
    return Section(
        name=name,
        title=title,
        lead=lead,
        data={"table": _table(metrics.per_category, has_thresholds=has_thresholds)},
    )


def curves_section(curves: Sequence[Curve], metrics: Metrics | None) -> Section:
    """Precision-recall curves of all classes, and of the classes with most objects."""
    name, title = "curves", "Precision and recall"
    if not curves:
        reason = "the run was not scored" if metrics is None else "the evaluation did not keep them"
        return Section(name=name, title=title, absent=f"The curves are missing: {reason}.")
    per_category = metrics.per_category if metrics is not None else ()
    names = {one.category_id: one.name for one in per_category}
    figures = [_overall(curves), _largest_classes(curves, per_category, names)]
    return Section(
        name=name,
        title=title,
        lead="The precision of the detections when the score threshold is so low that this share "
        "of all objects is found. Where a curve ends early, the remaining objects are never found.",
        data={"figures": [figure for figure in figures if figure is not None]},
    )


def _table(rows: Sequence[CategoryMetrics], *, has_thresholds: bool) -> Table:
    columns = [
        Column(title="class", is_text=True),
        Column(title="AP", hint="mean over IoU 0.50 to 0.95"),
        Column(title="AP50", hint="at IoU 0.50"),
        Column(title="AP75", hint="at IoU 0.75"),
        Column(title="AR100", hint="with 100 detections per image"),
        Column(title="objects"),
        Column(title="detections"),
    ]
    if has_thresholds:
        columns += [
            Column(title="best threshold", hint="score threshold at which F1 is highest"),
            Column(title="F1", hint="at the best threshold"),
        ]
    return table("Accuracy by class", columns, [_row(row, has_thresholds) for row in rows])


def _row(row: CategoryMetrics, has_thresholds: bool) -> list[Cell]:  # noqa: FBT001
    cells = [
        name_cell(row.name, swatch=swatch(row.category_id)),
        share_cell(row.AP, has_bar=True),
        share_cell(row.AP50),
        share_cell(row.AP75),
        share_cell(row.AR100),
        count_cell(row.num_objects),
        count_cell(row.num_detections),
    ]
    return (
        [*cells, share_cell(row.best_threshold), share_cell(row.best_f1)]
        if has_thresholds
        else cells
    )


def _overall(curves: Sequence[Curve]) -> Figure | None:
    series = [
        Series(name=name, points=_points(curve))
        for iou, name in _OVERALL.items()
        for curve in curves
        if curve.category_id is None and _is_same(curve.iou, iou) and _points(curve)
    ]
    return _figure("All classes", series)


def _largest_classes(
    curves: Sequence[Curve], rows: Sequence[CategoryMetrics], names: Mapping[int, str]
) -> Figure | None:
    objects = {row.category_id: row.num_objects for row in rows}
    own = [
        curve
        for curve in curves
        if curve.category_id is not None and _is_same(curve.iou, AP50_IOU) and _points(curve)
    ]
    own.sort(key=lambda curve: (-objects.get(curve.category_id or 0, 0), curve.category_id))
    series = [
        Series(
            name=formats.text(names.get(curve.category_id or 0, curve.category_id), 30),
            points=_points(curve),
        )
        for curve in own[:_NUM_CURVES]
    ]
    title = "Classes at IoU 0.50"
    if len(own) > _NUM_CURVES:
        title = f"The {_NUM_CURVES} classes with most objects, at IoU 0.50"
    return _figure(title, series)


def _figure(title: str, series: Sequence[Series]) -> Figure | None:
    if not series:
        return None
    return line_chart(title, share_axis("recall"), share_axis("precision"), series)


def _points(curve: Curve) -> list[tuple[float, float]]:
    """The points up to the largest recall reached; behind it COCO's precision is 0."""
    pairs = zip(curve.recall, curve.precision, strict=True)
    return [(recall, precision) for recall, precision in pairs if precision > 0]


def _is_same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) < _SAME_IOU
