"""One page per image that shows what FCOS's ground-truth encoding makes of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import cv2
import numpy as np
import numpy.typing as npt

from fcos_core.config import EncodingConfig
from fcos_core.structures import Category
from fcos_core.target_maps import ImageTargets, LevelTargets
from jobs.media.drawing.colors import LOST, MUTED, RULE, Pixels, heat_colors
from jobs.media.drawing.palette import class_color
from jobs.media.drawing.text import TIMES, TextStyle, draw_text, shortened, text_width, wrapped
from jobs.media.drawing.view import View, fitted
from jobs.rendering.targets.layout import beside, blank, framed, stacked
from jobs.rendering.targets.panels import (
    SIDE_COLORS,
    centerness_panel,
    class_panel,
    distances_panel,
    ground_truth_panel,
)
from jobs.rendering.targets.table import (
    COLUMN_GAP_PX,
    COLUMN_PX,
    balanced_columns,
    into_columns,
    set_columns,
    table_entries,
)

_WIDTH_PX = 1872
_MARGIN_PX = 24
_GAP_PX = 12
_SECTION_GAP_PX = 20
_WORD_GAP_PX = 5
_IMAGE_HEIGHT_PX = 940
_LEAST_TABLE_PX = 160
_PANEL_SHAPE = (460, 620)
_KEY_BAR_SHAPE = (12, 160)
_TITLE = TextStyle(size_px=26, weight=600)
_LEVEL = TextStyle(size_px=17, weight=600)
_HEADING = TextStyle(size_px=17, weight=600)
_TEXT = TextStyle(size_px=16)
_QUIET = TextStyle(size_px=14, color=MUTED)


def targets_page(
    image: Pixels,
    title: str,
    targets: ImageTargets,
    categories: Sequence[Category],
    crowds: npt.NDArray[np.floating],
) -> Pixels:
    """Draw a page.

    Args:
        image: as decoded; it is not changed.
        title: names it.
        targets: what its locations learn.
        categories: by label.
        crowds: xyxy of crowd regions in pixels of the network's input.
    """
    blocks = [
        _header(title, targets),
        _overview(image, targets, categories, crowds),
        *_level_sections(image, targets, categories),
    ]
    return framed(stacked(blocks, _SECTION_GAP_PX), _MARGIN_PX)


def _overview(
    image: Pixels,
    targets: ImageTargets,
    categories: Sequence[Category],
    crowds: npt.NDArray[np.floating],
) -> Pixels:
    """The image with its boxes, as large as the list of boxes beside it allows.

    What does not fit beside the image goes on below it.
    """
    entries = table_entries(targets, categories, len(crowds))
    shape = _image_shape(image, entries)
    view = View.of(image, targets.resized_shape, shape)
    panel = ground_truth_panel(view, targets, categories, crowds)
    columns = into_columns(entries, max(shape[0], _LEAST_TABLE_PX))
    num_beside = (_WIDTH_PX - shape[1]) // (COLUMN_PX + COLUMN_GAP_PX)
    overview = beside([panel, set_columns(columns[:num_beside])], COLUMN_GAP_PX)
    below = list(chain.from_iterable(columns[num_beside:]))
    if not below:
        return overview
    num_below = (_WIDTH_PX + COLUMN_GAP_PX) // (COLUMN_PX + COLUMN_GAP_PX)
    return stacked([overview, set_columns(balanced_columns(below, num_below))], _SECTION_GAP_PX)


def _image_shape(image: Pixels, entries: Sequence[Pixels]) -> tuple[int, int]:
    """Height and width that leave room for one column of entries, or two where one is too few."""
    for num_columns in (1, 2):
        room = _WIDTH_PX - num_columns * (COLUMN_PX + COLUMN_GAP_PX)
        height, width = fitted(image.shape[:2], (_IMAGE_HEIGHT_PX, room))
        if len(into_columns(entries, height)) <= num_columns:
            break
    return height, width


def _header(title: str, targets: ImageTargets) -> Pixels:
    rule = targets.rule
    lines = [
        [(title, _TITLE)],
        [
            (
                f"{_size(targets.image_shape)} px, resized to {_size(targets.resized_shape)}, "
                f"padded to {_size(targets.padded_shape)} px, the network's input",
                _TEXT,
            )
        ],
        _counts(targets),
        [(f"rule {rule.name}: {rule.source}", _QUIET)],
        [(_in_short(rule.encoding), _QUIET)],
    ]
    return stacked([_text_line(parts) for parts in lines], 0)


def _text_line(parts: Sequence[tuple[str, TextStyle]]) -> Pixels:
    """One line of differently styled parts, cut off at the page's width."""
    line = blank(max(style.line_px for _, style in parts), _WIDTH_PX)
    x = 0
    for text, style in parts:
        fitting = shortened(text, style, _WIDTH_PX - x)
        draw_text(line, fitting, x, 0, style)
        x += text_width(fitting, style) + _WORD_GAP_PX
    return line


def _counts(targets: ImageTargets) -> list[tuple[str, TextStyle]]:
    num_boxes, num_recalled = len(targets.boxes), int(targets.outcomes.is_recalled.sum())
    num_ambiguous = int(targets.outcomes.num_ambiguous.sum())
    lost = replace(_TEXT, weight=600, color=LOST)
    return [
        (f"{num_boxes} box{'' if num_boxes == 1 else 'es'} · {num_recalled} recalled ·", _TEXT),
        (f"{num_boxes - num_recalled} lost", lost if num_recalled < num_boxes else _TEXT),
        (
            f"· {targets.num_positive} of {targets.num_locations} locations are positive, "
            f"{num_ambiguous} of them wanted by more than one box (ambiguous)",
            _TEXT,
        ),
    ]


def _in_short(encoding: EncodingConfig) -> str:
    """The rule of encoding in a sentence, for a reader who is new to it."""
    radius = encoding.center_radius
    near = "" if radius is None else f", less than {radius:g} strides from their centre"
    return (
        f"A location learns the smallest of the boxes it lies in{near}, whose farthest side is in "
        "the range of its level. A box that no location learns is lost."
    )


def _level_sections(
    image: Pixels, targets: ImageTargets, categories: Sequence[Category]
) -> list[Pixels]:
    """Three rows of panels, one panel for each level; side by side where there is one level."""
    num_levels = len(targets.levels)
    is_single = num_levels == 1
    num_panels = 3 if is_single else num_levels
    max_width = min((_WIDTH_PX - _GAP_PX * (num_panels - 1)) // num_panels, _PANEL_SHAPE[1])
    view = View.of(image, targets.resized_shape, (_PANEL_SHAPE[0], max_width)).dimmed()
    labels: list[int] = targets.labels.tolist()
    colors = np.array([class_color(categories[label].id) for label in labels], np.uint8)
    colors = colors.reshape(-1, 3)

    def panels(draw: Callable[[View, LevelTargets], Pixels]) -> Pixels:
        drawn = [draw(_copy(view), level) for level in targets.levels]
        return beside([_widened(panel, max_width) for panel in drawn], _GAP_PX)

    width = max_width if is_single else _WIDTH_PX
    titles = beside([_level_title(level, max_width) for level in targets.levels], _GAP_PX)
    sections = [
        [
            _heading(
                "Class map",
                "locations in the colour of the class they learn; all others learn background",
                width,
            ),
            panels(lambda v, level: class_panel(v, level, colors)),
        ],
        [
            _heading(
                "Centre-ness",
                "1 in the middle of the box a location learns, 0 on its sides",
                width,
                _centerness_key(),
            ),
            panels(centerness_panel),
        ],
        [
            _heading(
                "ltrb",
                "distances to the sides, from the most central and the remotest location of a box",
                width,
                _sides_key(),
            ),
            panels(lambda v, level: distances_panel(v, level, targets.boxes, colors)),
        ],
    ]
    rows = [stacked(section, 6) for section in sections]
    return [titles, beside(rows, _GAP_PX)] if is_single else [titles, *rows]


def _copy(view: View) -> View:
    return View(view.pixels.copy(), view.scale_x, view.scale_y)


def _widened(panel: Pixels, width: int) -> Pixels:
    return stacked([panel, blank(0, width)], 0)


def _level_title(level: LevelTargets, width: int) -> Pixels:
    title = blank(_LEVEL.line_px + _QUIET.line_px + 6, width)
    title[:2] = RULE
    low, high = level.size_range
    draw_text(title, f"{level.name} · stride {level.stride}", 0, 6, _LEVEL)
    if math.isinf(high):
        distance = "at any distance" if low <= 0 else f"from {low:g} px"
    else:
        distance = f"up to {high:g} px" if low <= 0 else f"{low:g}..{high:g} px"
    about = f"farthest side {distance} · {level.num_positive} of {level.matched.size} positive"
    draw_text(title, shortened(about, _QUIET, width), 0, 6 + _LEVEL.line_px, _QUIET)
    return title


def _heading(name: str, explanation: str, width: int, key: Pixels | None = None) -> Pixels:
    lines = wrapped(explanation, _QUIET, width)
    heading = blank(_HEADING.line_px + len(lines) * _QUIET.line_px, width)
    draw_text(heading, name, 0, 0, _HEADING)
    if key is not None:
        x = text_width(name, _HEADING) + 20
        heading[: key.shape[0], x : x + key.shape[1]] = key
    for i, line in enumerate(lines):
        draw_text(heading, line, 0, _HEADING.line_px + i * _QUIET.line_px, _QUIET)
    return heading


def _centerness_key() -> Pixels:
    """A bar from 0 to 1."""
    height, width = _KEY_BAR_SHAPE
    key = blank(_HEADING.line_px, width + 40)
    draw_text(key, "0", 0, 1, _QUIET)
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    key[4 : 4 + height, 14 : 14 + width] = heat_colors(ramp)
    draw_text(key, "1", 20 + width, 1, _QUIET)
    return key


def _sides_key() -> Pixels:
    """The colours of the four distances."""
    key = blank(_HEADING.line_px, 320)
    x = 0
    for side, color in SIDE_COLORS.items():
        cv2.rectangle(key, (x, 9), (x + 22, 13), color, cv2.FILLED)
        draw_text(key, side, x + 28, 1, _QUIET)
        x += 28 + text_width(side, _QUIET) + 16
    return key


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} {TIMES} {shape[0]}"
