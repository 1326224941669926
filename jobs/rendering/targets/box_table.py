"""The table of an image's boxes: class, size, and which levels learn each box, or why none does."""

from __future__ import annotations

from collections.abc import Sequence

from fcos_core.category import Category
from fcos_core.target_maps import ImageTargets
from jobs.html import formats
from jobs.html.tabular import LONGEST_NAME, Cell, Column, Table, count_cell, name_cell, table
from jobs.media.drawing.colors import hex_color
from jobs.media.drawing.palette import class_color
from jobs.rendering.targets.panels import cause_in_words


def box_table(targets: ImageTargets, categories: Sequence[Category]) -> Table:
    """List every box, whatever their number; categories are by label."""
    causes = [cause_in_words(targets, i) for i in range(len(targets.boxes))]
    columns = [
        Column(title="box", hint="Its number in the image, by the order of the file."),
        Column(title="class", is_text=True),
        Column(title="width", hint="Pixels of the network's input."),
        Column(title="height", hint="Pixels of the network's input."),
        *(
            Column(title=level.name, hint=f"Locations of stride {level.stride} that learn the box.")
            for level in targets.levels
        ),
    ]
    rows = [_cells(targets, i, categories[int(targets.labels[i])]) for i in range(len(causes))]
    if any(causes):
        columns.append(Column(title="lost because", is_text=True))
        for row, cause in zip(rows, causes, strict=True):
            row.append(Cell(text="", value=None) if cause is None else name_cell(cause))
    return table("Boxes", columns, rows, most_rows=None)


def class_name(category: Category) -> str:
    """Return a class's name, fit to be shown."""
    return formats.text(category.name, LONGEST_NAME)


def _cells(targets: ImageTargets, index: int, category: Category) -> list[Cell]:
    x_min, y_min, x_max, y_max = targets.boxes[index].tolist()
    return [
        Cell(text=f"#{index + 1}", value=index + 1),
        name_cell(category.name, swatch=hex_color(class_color(category.id))),
        *(Cell(text=f"{side:.0f}", value=side) for side in (x_max - x_min, y_max - y_min)),
        *(count_cell(num_kept) for num_kept in targets.outcomes.num_kept[index].tolist()),
    ]
