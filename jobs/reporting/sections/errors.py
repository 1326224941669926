"""Kinds of detection errors with their cost in AP50, and confused classes."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.html import formats
from jobs.html.section import Section
from jobs.html.tabular import Cell, Column, Table, count_cell, name_cell, table
from jobs.rundir.metrics_json import Confusion, Errors, Metrics

_KINDS = {
    "class": ("classification", "the box fits an object of another class"),
    "localisation": ("localisation", "the right class, but the IoU is too low"),
    "both": ("both", "the wrong class, and the IoU is too low"),
    "duplicate": ("duplicate", "a better detection matches the object already"),
    "background": ("background", "no annotated object is near"),
    "missed": ("missed", "an annotated object without any detection near it"),
}
_MAX_CONFUSIONS = 20


def errors_section(metrics: Metrics | None) -> Section:
    """How much AP50 each kind of error costs."""
    name, title = "errors", "Errors by kind"
    errors = metrics.errors if metrics is not None else None
    if errors is None or not errors.shares:
        return Section(name=name, title=title, absent="The evaluation did not classify errors.")
    return Section(
        name=name,
        title=title,
        lead="How much AP50 would rise if all errors of one kind were corrected. The gains do not "
        "add up: correcting one kind can reveal another.",
        data={"table": _errors(errors)},
    )


def confusions_section(metrics: Metrics | None, names: Mapping[int, str]) -> Section:
    """The most frequent confusions of two classes."""
    name, title = "confusions", "Confused classes"
    confusions = metrics.confusions if metrics is not None else None
    if confusions is None:
        return Section(
            name=name, title=title, absent="The evaluation did not measure confusions of classes."
        )
    if not confusions:
        return Section(name=name, title=title, absent="No class was confused with another.")
    most = sorted(confusions, key=lambda one: -one.count)[:_MAX_CONFUSIONS]
    return Section(
        name=name,
        title=title,
        lead="Objects that a detection of another class matches, most frequent first.",
        data={"table": _confusions(most, names)},
    )


def _errors(errors: Errors) -> Table:
    largest = max(*errors.shares.values(), 1e-9)
    rows: list[tuple[Cell, ...]] = []
    for key, value in errors.shares.items():
        label, hint = _KINDS.get(key, (key.replace("_", " "), ""))
        count = errors.counts.get(key)
        bar = Cell(text=f"+{formats.share(value)}", value=value, bar=max(value, 0) / largest)
        rows.append((name_cell(label), bar, count_cell(count), Cell(text=hint, value=hint)))
    columns = (
        Column(title="error", is_text=True),
        Column(title="AP50 gain"),
        Column(title="errors"),
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
            count_cell(one.count, largest=largest),
        )
        for one in confusions
    ]
    columns = (
        Column(title="annotated class", is_text=True),
        Column(title="detected class", is_text=True),
        Column(title="objects"),
    )
    return table("Most frequent confusions", columns, rows)
