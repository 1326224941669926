"""The list beside the image: classes with their colours, and what became of each box."""

from collections.abc import Sequence

import cv2
import numpy as np

from fcos_core.structures import Category
from fcos_core.target_maps import ImageTargets
from jobs.media.drawing.colors import GREY, LOST, MUTED, Pixels
from jobs.media.drawing.outlines import hatch
from jobs.media.drawing.palette import class_color
from jobs.media.drawing.text import TIMES, TextStyle, draw_text, shortened, wrapped
from jobs.rendering.targets.layout import beside, blank, stacked
from jobs.rendering.targets.panels import cause_in_words

COLUMN_PX = 340
COLUMN_GAP_PX = 20
_SWATCH_PX = 14
_NAME_X = 22
_NUMBER_X, _SIZE_X, _FATE_X = 22, 66, 168
_SPACE_ABOVE_CLASS_PX = 7
_HEIGHT_STEP_PX = 16
_CLASS = TextStyle(size_px=15, weight=600)
_ROW = TextStyle(size_px=14)
_QUIET = TextStyle(size_px=14, color=MUTED)
_LOST_ROW = TextStyle(size_px=14, weight=500, color=LOST)


def table_entries(
    targets: ImageTargets, categories: Sequence[Category], num_crowds: int
) -> list[Pixels]:
    """List every box under its class; the entries are to be set in columns.

    Args:
        targets: of the image.
        categories: by label.
        num_crowds: crowd regions, which are only counted.
    """
    entries: list[Pixels] = []
    labels: list[int] = np.unique(targets.labels).tolist()
    for label in labels:
        members = np.flatnonzero(targets.labels == label).tolist()
        rows = [_box_row(targets, i) for i in members]
        # A class and its first box stay together.
        entries.append(stacked([_class_row(categories[label], len(members)), rows[0]], 0))
        entries.extend(rows[1:])
    if num_crowds:
        entries.append(_crowd_row(num_crowds))
    if not entries:
        entries.append(_line("no boxes: every location learns background", _QUIET))
    return entries


def into_columns(entries: Sequence[Pixels], height: int) -> list[list[Pixels]]:
    """Fill as many columns of this height as it takes, one after the other."""
    columns: list[list[Pixels]] = []
    used = height
    for entry in entries:
        if not columns or used + entry.shape[0] > height:
            columns.append([])
            used = 0
        columns[-1].append(entry)
        used += entry.shape[0]
    return columns


def balanced_columns(entries: Sequence[Pixels], num_columns: int) -> list[list[Pixels]]:
    """Fill so many columns, no higher than they have to be."""
    height = sum(entry.shape[0] for entry in entries) // num_columns
    columns = into_columns(entries, height)
    while len(columns) > num_columns:
        height += _HEIGHT_STEP_PX
        columns = into_columns(entries, height)
    return columns


def set_columns(columns: Sequence[Sequence[Pixels]]) -> Pixels:
    """Put columns beside each other."""
    return beside([stacked(column, 0) for column in columns], COLUMN_GAP_PX)


def _class_row(category: Category, count: int) -> Pixels:
    row = blank(_CLASS.line_px + _SPACE_ABOVE_CLASS_PX, COLUMN_PX)
    y = _SPACE_ABOVE_CLASS_PX
    _draw_swatch(row, y, class_color(category.id))
    ending = f" ({count})"
    name = shortened(category.name, _CLASS, COLUMN_PX - _NAME_X - 60)
    draw_text(row, name + ending, _NAME_X, y, _CLASS)
    return row


def _crowd_row(count: int) -> Pixels:
    row = blank(_CLASS.line_px + _SPACE_ABOVE_CLASS_PX, COLUMN_PX)
    y = _SPACE_ABOVE_CLASS_PX
    hatch(row, (0, y + 2, _SWATCH_PX, y + 2 + _SWATCH_PX))
    _draw_swatch(row, y, GREY, thickness_px=1)
    text = f"crowd region{'s' if count > 1 else ''} ({count}), left out"
    draw_text(row, text, _NAME_X, y, _QUIET)
    return row


def _draw_swatch(
    row: Pixels, y: int, color: tuple[int, int, int], thickness_px: int = cv2.FILLED
) -> None:
    cv2.rectangle(row, (0, y + 2), (_SWATCH_PX, y + 2 + _SWATCH_PX), color, thickness_px)


def _box_row(targets: ImageTargets, index: int) -> Pixels:
    cause = cause_in_words(targets, index)
    style = _ROW if cause is None else _LOST_ROW
    fate = _levels_in_words(targets, index) if cause is None else f"lost: {cause}"
    lines = wrapped(fate, style, COLUMN_PX - _FATE_X)
    row = blank(style.line_px * len(lines), COLUMN_PX)
    x_min, y_min, x_max, y_max = targets.boxes[index].tolist()
    draw_text(row, f"#{index + 1}", _NUMBER_X, 0, style)
    draw_text(row, f"{x_max - x_min:.0f} {TIMES} {y_max - y_min:.0f} px", _SIZE_X, 0, _QUIET)
    for i, line in enumerate(lines):
        draw_text(row, line, _FATE_X, i * style.line_px, style)
    return row


def _levels_in_words(targets: ImageTargets, index: int) -> str:
    return ", ".join(
        f"{level.name}: {num_kept}"
        for level, num_kept in zip(
            targets.levels, targets.outcomes.num_kept[index].tolist(), strict=True
        )
        if num_kept
    )


def _line(text: str, style: TextStyle) -> Pixels:
    row = blank(style.line_px, COLUMN_PX)
    draw_text(row, text, 0, 0, style)
    return row
