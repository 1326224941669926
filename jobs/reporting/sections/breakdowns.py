"""What makes objects hard to find: their size, shape and neighbours."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.html import formats
from jobs.html.section import Section
from jobs.html.tabular import Column, Table, count_cell, name_cell, percent_cell, table
from jobs.reporting.examples.scan import GroupTally, Scan

_TITLES = {
    "area": "By area",
    "crowding": "By crowding",
    "side": "By longer side",
    "aspect": "By aspect ratio",
}


def breakdowns_section(scan: Scan) -> Section:
    """Which share of the annotated objects is found, by what sets them apart."""
    name, title = "breakdowns", "By size and crowding"
    if not scan.groups:
        return Section(
            name=name,
            title=title,
            absent="Which objects are found cannot be said without their annotations.",
        )
    return Section(
        name=name,
        title=title,
        lead="The share of annotated objects that a detection of their class overlaps by an IoU of "
        f"0.50 or more: at any score, and at scores from {scan.score:.2f} on. Areas are COCO's: "
        "small below 32² px, large from 96² px on. Crowding is the largest IoU with another "
        "object of the image.",
        data={
            "tables": [
                _table(title, scan.groups[key])
                for key, title in _TITLES.items()
                if key in scan.groups
            ]
        },
    )


def _table(title: str, groups: Mapping[str, GroupTally]) -> Table:
    rows = [
        (
            name_cell(name.replace("-", formats.DASH)),
            count_cell(tally.total),
            percent_cell(tally.found / tally.total),
            percent_cell(tally.found_at_score / tally.total, has_bar=True),
        )
        for name, tally in groups.items()
        if tally.total
    ]
    columns = (
        Column(title="objects are", is_text=True),
        Column(title="objects"),
        Column(title="at any score"),
        Column(title="counted"),
    )
    return table(title, columns, rows, is_sortable=False)
