"""What is wrong with detections: what each kind of error costs, and which classes are confused."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.html import formats
from jobs.html.section import Section
from jobs.html.tabular import Cell, Column, Table, count_cell, name_cell, table
from jobs.rundir.metrics_json import Confusion, Errors, Metrics

_KINDS = {
    "class": ("wrong class", "well placed, but named otherwise"),
    "localisation": ("badly placed", "right class, but overlapping too little"),
    "both": ("both", "wrong class and overlapping too little"),
    "duplicate": ("found twice", "another detection has found the object already"),
    "background": ("nothing there", "no annotated object anywhere near"),
    "missed": ("missed", "annotated objects without any detection near them"),
}
_MOST_CONFUSIONS = 20


def errors_section(metrics: Metrics | None) -> Section:
    """AP50 that would be gained if one kind of error were gone."""
    name, title = "errors", "What costs accuracy"
    errors = metrics.errors if metrics is not None else None
    if errors is None or not errors.shares:
        return Section(name=name, title=title, absent="The kinds of errors were not told apart.")
    return Section(
        name=name,
        title=title,
        lead="How much AP50 would rise if all errors of one kind, and no others, were mended. The "
        "rises do not add up: mending one kind uncovers another.",
        data={"table": _errors(errors)},
    )


def confusions_section(metrics: Metrics | None, names: Mapping[int, str]) -> Section:
    """The classes that are most often taken for others."""
    name, title = "confusions", "Confused classes"
    confusions = metrics.confusions if metrics is not None else None
    if confusions is None:
        return Section(
            name=name, title=title, absent="Which classes are confused was not measured."
        )
    if not confusions:
        return Section(name=name, title=title, absent="No class was taken for another.")
    most = sorted(confusions, key=lambda one: -one.count)[:_MOST_CONFUSIONS]
    return Section(
        name=name,
        title=title,
        lead="Objects whose place was found but whose class was not, most frequent first.",
        data={"table": _confusions(most, names)},
    )


def _errors(errors: Errors) -> Table:
    largest = max(*errors.shares.values(), 1e-9)
    rows: list[tuple[Cell, ...]] = []
    for key, value in errors.shares.items():
        label, hint = _KINDS.get(key, (key.replace("_", " "), ""))
        count = errors.counts.get(key)
        bar = Cell(text=f"+{formats.share(value)}", value=value, bar=max(value, 0) / largest)
        counted = Cell(text=formats.UNDEFINED, value=None) if count is None else count_cell(count)
        rows.append((name_cell(label), bar, counted, Cell(text=hint, value=hint)))
    columns = (
        Column(title="error", is_text=True),
        Column(title="AP50 to gain"),
        Column(title="how many"),
        Column(title="meaning", is_text=True),
    )
    return table("Errors by kind", columns, rows)


def _confusions(confusions: list[Confusion], names: Mapping[int, str]) -> Table:
    def named(category: str | int) -> Cell:
        return name_cell(names.get(category, category) if isinstance(category, int) else category)

    largest = max(one.count for one in confusions) or 1
    rows = [
        (
            named(one.true),
            named(one.predicted),
            Cell(text=formats.count(one.count), value=one.count, bar=one.count / largest),
        )
        for one in confusions
    ]
    columns = (
        Column(title="is", is_text=True),
        Column(title="taken for", is_text=True),
        Column(title="objects"),
    )
    return table("Most frequent confusions", columns, rows)
