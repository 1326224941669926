"""The share of annotated objects that is found, by their size, shape and crowding."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.html.section import Section
from jobs.html.tabular import Cell, Column, Table, percent_cell
from jobs.reporting.examples.scan import GroupTally, Scan
from jobs.reporting.sections.groups import TITLES, group_table


def breakdowns_section(scan: Scan) -> Section:
    """Recall by area, crowding, longer side and aspect ratio."""
    name, title = "breakdowns", "Recall by size and crowding"
    if not scan.groups:
        return Section(
            name=name,
            title=title,
            absent="Recall by size and crowding needs annotations: give --annotations FILE.",
        )
    return Section(
        name=name,
        title=title,
        lead="The share of annotated objects that a detection of their class matches at IoU 0.50: "
        f"at any score, and at scores from {scan.score:.2f} on. Areas are COCO's: "
        "small below 32² px, large from 96² px on. Crowding is the largest IoU with another "
        "object of the image.",
        data={
            "tables": [
                _table(title, scan.groups[key])
                for key, title in TITLES.items()
                if key in scan.groups
            ]
        },
    )


def _table(title: str, groups: Mapping[str, GroupTally]) -> Table:
    columns = (Column(title="found at any score"), Column(title="found at those scores"))
    return group_table(title, columns, ((name, t.total, _cells(t)) for name, t in groups.items()))


def _cells(tally: GroupTally) -> tuple[Cell, ...]:
    total = max(tally.total, 1)
    return (
        percent_cell(tally.found / total),
        percent_cell(tally.found_at_score / total, has_bar=True),
    )
