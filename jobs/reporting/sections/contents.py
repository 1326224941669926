"""Detections of a run by class, score and size, and quarantined items; without annotations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from jobs.html import formats
from jobs.html.charts import Bar, histogram
from jobs.html.section import Section
from jobs.html.tabular import Column, Table, count_cell, name_cell, table
from jobs.reporting.examples.scan import NUM_LISTED, SCORE_EDGES, SIDE_EDGES_PX, Scan
from jobs.reporting.sections.classes import swatch


def contents_section(scan: Scan, names: Mapping[int, str]) -> Section:
    """Number of detections by class, score and size."""
    name, title = "contents", "Detections"
    if not scan.num_ok:
        return Section(name=name, title=title, absent="No image could be processed.")
    num_counted = sum(scan.counted.values())
    lead = (
        f"{formats.counted(sum(scan.detections.values()), 'detection')} on "
        f"{formats.counted(scan.num_ok, 'image')}; {formats.count(num_counted)} have a score of "
        f"{scan.score:.2f} or more. {formats.counted(scan.num_empty, 'image')} without such a "
        "detection."
    )
    scores = [
        Bar(low=f"{low:.2g}", high=f"{high:.2g}", count=count)
        for (low, high), count in zip(
            pairwise(SCORE_EDGES), scan.score_counts.tolist(), strict=True
        )
    ]
    sides = [
        Bar(low=str(low), high=str(high or ""), count=count)
        for (low, high), count in zip(
            pairwise((*SIDE_EDGES_PX, None)), scan.side_counts.tolist(), strict=True
        )
    ]
    return Section(
        name=name,
        title=title,
        lead=lead,
        data={
            "figures": [
                histogram("Scores", "score", scores, y_title="detections"),
                histogram(
                    f"Sizes, at scores from {scan.score:.2f} on",
                    "longer side, px",
                    sides,
                    y_title="detections",
                ),
            ],
            "table": _classes(scan, names),
        },
    )


def quarantine_section(scan: Scan) -> Section:
    """The images, frames and videos that could not be used, with their errors."""
    name, title = "quarantine", "Quarantined images"
    num_quarantined = sum(scan.quarantined_by_class.values())
    if not num_quarantined:
        return Section(name=name, title=title, absent="Every image could be used.")
    share = formats.percent(num_quarantined / (num_quarantined + scan.num_ok), 2)
    classes = [
        (name_cell(error_class), count_cell(count))
        for error_class, count in scan.quarantined_by_class.most_common()
    ]
    listed = [
        (
            name_cell(one.uri, longest=formats.LONGEST_TEXT),
            name_cell(one.error_class),
            name_cell(one.error, longest=formats.LONGEST_TEXT),
        )
        for one in scan.quarantined
    ]
    more = f" The first {NUM_LISTED} are listed." if num_quarantined > NUM_LISTED else ""
    return Section(
        name=name,
        title=title,
        lead=f"{formats.counted(num_quarantined, 'image')} ({share}) could not be used.{more} The "
        "run's tables have all of them, as rows of status quarantined.",
        data={
            "classes": table(
                "By class of error",
                (Column(title="error", is_text=True), Column(title="images")),
                classes,
            ),
            "listed": table(
                "Images",
                (
                    Column(title="image", is_text=True),
                    Column(title="error", is_text=True),
                    Column(title="message", is_text=True),
                ),
                listed,
            ),
        },
    )


def _classes(scan: Scan, names: Mapping[int, str]) -> Table:
    largest = max(scan.counted.values(), default=1)
    ordered = sorted(
        scan.detections.keys(), key=lambda id_: (-scan.counted[id_], -scan.detections[id_], id_)
    )
    rows = [
        (
            name_cell(names.get(id_, f"category {id_}"), swatch=swatch(id_)),
            count_cell(scan.counted[id_], largest=largest),
            count_cell(scan.images[id_]),
            count_cell(scan.detections[id_]),
        )
        for id_ in ordered
    ]
    at = f"at scores from {scan.score:.2f} on"
    columns = (
        Column(title="class", is_text=True),
        Column(title="detections", hint=at),
        Column(title="images", hint=f"images with a detection of the class {at}"),
        Column(title="detections at any score"),
    )
    return table("Detections by class", columns, rows)
