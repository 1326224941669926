"""The page that links the pages of all drawn images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from fcos_core.metrics.bpr.rules import LocationRule
from jobs.html import formats
from jobs.html.page import Page, render
from jobs.html.section import Section
from jobs.html.tabular import Cell, Column, count_cell, table
from jobs.rendering.targets.page import KIND, PACKAGE, recall_in_words

INDEX_NAME = "index.html"


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """A page in the folder of the index, by its file's name; crowd regions are no boxes."""

    name: str
    image_id: int
    file_name: str
    num_boxes: int
    num_recalled: int


def index_page(entries: Sequence[IndexEntry], annotations: str, rule: LocationRule) -> bytes:
    """Make the HTML index of the pages, which are in the order of the annotation file."""
    num_boxes = sum(entry.num_boxes for entry in entries)
    num_recalled = sum(entry.num_recalled for entry in entries)
    columns = [
        Column(title="image", hint="COCO's id of the image."),
        Column(title="file", is_text=True),
        Column(title="boxes", hint="Crowd regions are not counted."),
        Column(title="recalled", hint="Boxes that some location learns."),
        Column(title="lost", hint="Boxes that no location learns."),
    ]
    return render(
        Page(
            kind=KIND,
            title=formats.text(annotations.rpartition("/")[2]),
            subtitle=f"Rule {rule.name}: {rule.source}",
            state=recall_in_words(num_boxes, num_recalled),
            is_good=num_recalled == num_boxes,
            sections=[
                Section(
                    name="pages",
                    title="Images",
                    lead="Each image has a page of its own.",
                    data={"table": table("Images", columns, map(_cells, entries), most_rows=None)},
                )
            ],
            package=PACKAGE,
        )
    )


def _cells(entry: IndexEntry) -> list[Cell]:
    file_name = formats.text(entry.file_name)
    return [
        Cell(text=str(entry.image_id), value=entry.image_id, href=quote(entry.name)),
        Cell(text=file_name, value=file_name.casefold()),
        count_cell(entry.num_boxes),
        count_cell(entry.num_recalled),
        count_cell(entry.num_boxes - entry.num_recalled),
    ]
