"""Best possible recall in training, and the steps at which recall is lost."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.html import formats
from jobs.html.section import Section
from jobs.html.tabular import (
    Cell,
    Column,
    Table,
    count_cell,
    name_cell,
    percent_cell,
    table,
)
from jobs.reporting.results import Recall, RecallGroup, RecallRule
from jobs.reporting.sections.groups import TITLES, group_table
from jobs.rundir.metrics_json import Metrics

_CAUSES = {
    "no_location": ("no location inside", "no location of any level lies inside the object"),
    "out_of_range": ("out of range", "no level with a location inside has the object's size range"),
    "center_empty": ("none near centre", "no location is near enough to the object's centre"),
    "shadowed": ("shadowed", "smaller objects take all locations of the object"),
    "low_iou": ("low IoU", "no anchor overlaps the object enough"),
}
_STEPS = {
    "ground_truth": "annotated",
    "assignable": "assignable in training",
    "found": "overlapped by a detection of any class",
    "right_class": "matched by a detection of its class",
    "over_threshold": "matched at a score above the threshold",
    "top_100": "matched by one of the image's 100 best detections",
}
_LADDER = "How many annotated objects each step loses, from the ground truth to the result."


def ladder_section(metrics: Metrics | None) -> Section:
    """Objects left after each step from the ground truth to the scored detections."""
    name, title = "ladder", "Where recall is lost"
    ladder = metrics.ladder if metrics is not None else None
    if metrics is None or ladder is None or not ladder.steps:
        return Section(
            name=name,
            title=title,
            absent="The evaluation did not measure the steps at which objects are lost.",
        )
    whole = ladder.steps[0].boxes or 1
    areas = list(dict.fromkeys(area for step in ladder.steps for area in step.lost_by_area))
    rows: list[list[Cell]] = [
        [
            _step_cell(step.name),
            count_cell(step.boxes),
            percent_cell(step.boxes / whole, has_bar=True),
            count_cell(step.lost),
            *(count_cell(step.lost_by_area.get(area, 0)) for area in areas),
        ]
        for step in ladder.steps
    ]
    columns = [
        Column(title="step", is_text=True),
        Column(title="objects left"),
        Column(title="share"),
        Column(title="lost here"),
        *(Column(title=area, hint=f"{area} objects lost here") for area in areas),
    ]
    return Section(
        name=name,
        title=title,
        lead=f"{_LADDER}{_assignable(metrics)}",
        data={
            "table": table("Steps", columns, rows, is_sortable=False),
            "crossed": _crossed(ladder.assignable_by_found),
        },
    )


def _assignable(metrics: Metrics) -> str:
    """The rule and the input size for which objects are assignable."""
    if metrics.assignable_by is None or metrics.assignable_at_px is None:
        return ""
    shorter, longer = metrics.assignable_at_px
    return (
        f" An object is assignable if the rule {formats.text(metrics.assignable_by)} gives it at"
        f" least one location, with images resized to {shorter} px on the shorter side and at most"
        f" {longer} px on the longer."
    )


def recall_section(recall: Recall | None) -> Section:
    """Best possible recall by assignment rule, with the causes of loss."""
    name, title = "recall", "Best possible recall"
    if recall is None or not recall.rules:
        return Section(
            name=name,
            title=title,
            absent="It was not measured. Command: fcos bpr ANNOTATIONS --run RUN.",
        )
    first_name, first = next(iter(recall.rules.items()))
    groups: list[Table] = []
    for key, heading in TITLES.items():
        own: tuple[RecallGroup, ...] = getattr(first, f"by_{key}")
        if own:
            groups.append(_groups(f"{heading}, rule {first_name}", own))
    return Section(
        name=name,
        title=title,
        lead=f"The share of {formats.count(first.total)} annotated objects that training could "
        "assign to at least one location, whatever the model learns. A rule decides which location "
        "learns which object.",
        data={"table": _rules(recall), "groups": groups},
    )


def _step_cell(name: str) -> Cell:
    label = _STEPS.get(name, name.replace("_", " "))
    return Cell(text=formats.text(label), value=label)


def _crossed(counts: Mapping[str, Mapping[str, int]]) -> Table | None:
    """Count found and missed objects, each by whether training could assign them."""
    if not counts:
        return None
    rows = [
        (
            name_cell(label),
            count_cell(counts.get(key, {}).get("found", 0)),
            count_cell(counts.get(key, {}).get("not_found", 0)),
        )
        for key, label in (("assignable", "assignable"), ("not_assignable", "not assignable"))
    ]
    columns = (
        Column(title="in training", is_text=True),
        Column(title="found"),
        Column(title="not found"),
    )
    return table("Found objects by assignability", columns, rows, is_sortable=False)


def _rules(recall: Recall) -> Table:
    causes = [
        cause for cause in _CAUSES if any(cause in rule.lost for rule in recall.rules.values())
    ]
    columns = [
        Column(title="rule", is_text=True),
        Column(title="assignable"),
        Column(title="lost"),
        *(Column(title=_CAUSES[cause][0], hint=_CAUSES[cause][1]) for cause in causes),
        Column(
            title="ambiguous", hint="share of positive locations that several objects qualify for"
        ),
    ]
    rows = [_rule(name, rule, causes) for name, rule in recall.rules.items()]
    return table("Best possible recall by rule, and causes of loss", columns, rows)


def _rule(name: str, rule: RecallRule, causes: list[str]) -> list[Cell]:
    return [
        name_cell(name),
        percent_cell(rule.bpr, has_bar=True, digits=2),
        count_cell(rule.total - rule.recalled),
        *(count_cell(rule.lost.get(cause)) for cause in causes),
        percent_cell(rule.ambiguous_ratio, digits=2),
    ]


def _groups(title: str, groups: tuple[RecallGroup, ...]) -> Table:
    columns = (Column(title="lost"), Column(title="assignable"))
    cells = (
        (
            group.name,
            group.total,
            (
                count_cell(group.total - group.recalled),
                percent_cell(group.bpr, has_bar=True, digits=2),
            ),
        )
        for group in groups
    )
    return group_table(title, columns, cells)
