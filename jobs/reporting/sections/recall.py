"""What training could recall at best, and where recall is lost on the way to the result."""

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
from jobs.rundir.metrics_json import Metrics

_CAUSES = {
    "no_location": ("none inside", "no location of any level lies inside"),
    "out_of_range": ("out of range", "no level with a location inside answers for its size"),
    "center_empty": ("none near centre", "no location is near enough to its centre"),
    "shadowed": ("taken by others", "smaller objects take all its locations"),
    "low_iou": ("low IoU", "no anchor overlaps it enough"),
}
_STEPS = {
    "ground_truth": "annotated",
    "assignable": "assignable in training",
    "found": "overlapped by a detection of any class",
    "right_class": "by one of its class",
    "over_threshold": "by one over the score threshold",
    "top_100": "among an image's hundred best",
}
_LADDER = "From all annotated objects down to those that end up found: what each step loses."
_GROUPS = {
    "by_area": "By area",
    "by_crowding": "By crowding",
    "by_side": "By longer side",
    "by_aspect": "By aspect ratio",
}


def ladder_section(metrics: Metrics | None) -> Section:
    """Boxes left after every step from the ground truth to what is scored."""
    name, title = "ladder", "Where recall is lost"
    ladder = metrics.ladder if metrics is not None else None
    if metrics is None or ladder is None or not ladder.steps:
        return Section(
            name=name,
            title=title,
            absent="The steps at which objects are lost were not measured.",
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
        *(Column(title=area, hint=f"lost here, of {area} objects") for area in areas),
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
    """By which rule, and how large the network sees images."""
    if metrics.assignable_by is None or metrics.assignable_at_px is None:
        return ""
    shorter, longer = metrics.assignable_at_px
    return (
        f" Assignable is what the rule {formats.text(metrics.assignable_by)} can teach, with"
        f" images of {shorter} px on the shorter side and {longer} px at most on the longer."
    )


def recall_section(recall: Recall | None) -> Section:
    """Best possible recall by rule, with the causes of loss."""
    name, title = "recall", "Best possible recall"
    if recall is None or not recall.rules:
        return Section(
            name=name,
            title=title,
            absent="It was not measured: fcos bpr ANNOTATIONS --run RUN does it.",
        )
    first_name, first = next(iter(recall.rules.items()))
    groups: list[Table] = []
    for key, heading in _GROUPS.items():
        own: tuple[RecallGroup, ...] = getattr(first, key)
        if own:
            groups.append(_groups(f"{heading}, rule {first_name}", own))
    return Section(
        name=name,
        title=title,
        lead=f"The share of {formats.count(first.total)} objects that training could assign to at "
        "least one location, whatever the model learns. A rule says which location learns which "
        "object.",
        data={"table": _rules(recall), "groups": groups},
    )


def _step_cell(name: str) -> Cell:
    label = _STEPS.get(name, name.replace("_", " "))
    return Cell(text=formats.text(label), value=label)


def _crossed(counts: Mapping[str, Mapping[str, int]]) -> Table | None:
    """Whether objects are found, by whether training could assign them: neither implies the other.

    Args:
        counts: by assignable or not, then by found or not.
    """
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
    return table("Found at all, by what training can assign", columns, rows, is_sortable=False)


def _rules(recall: Recall) -> Table:
    causes = [
        cause for cause in _CAUSES if any(cause in rule.lost for rule in recall.rules.values())
    ]
    columns = [
        Column(title="rule", is_text=True),
        Column(title="recalled"),
        Column(title="lost"),
        *(Column(title=_CAUSES[cause][0], hint=_CAUSES[cause][1]) for cause in causes),
        Column(title="ambiguous", hint="share of positive locations that several objects want"),
    ]
    rows = [_rule(name, rule, causes) for name, rule in recall.rules.items()]
    return table("By rule, and why objects are lost", columns, rows)


def _rule(name: str, rule: RecallRule, causes: list[str]) -> list[Cell]:
    return [
        name_cell(name),
        percent_cell(rule.bpr, has_bar=True, digits=2),
        count_cell(rule.total - rule.recalled),
        *(
            count_cell(rule.lost[cause])
            if cause in rule.lost
            else Cell(text=formats.UNDEFINED, value=None)
            for cause in causes
        ),
        percent_cell(rule.ambiguous_ratio, digits=2),
    ]


def _groups(title: str, groups: tuple[RecallGroup, ...]) -> Table:
    rows = [
        (
            name_cell(group.name.replace("-", formats.DASH)),
            count_cell(group.total),
            count_cell(group.total - group.recalled),
            percent_cell(group.bpr, has_bar=True, digits=2),
        )
        for group in groups
        if group.total
    ]
    columns = (
        Column(title="objects are", is_text=True),
        Column(title="objects"),
        Column(title="lost"),
        Column(title="recalled"),
    )
    return table(title, columns, rows, is_sortable=False)
