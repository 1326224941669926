"""Panels that show targets: the ground truth, and three maps of each pyramid level.

A box is named by its number, which counts the boxes of the image from 1 in the order of the file.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fcos_core.category import Category
from fcos_core.metrics.bpr.structures import Cause
from fcos_core.target_maps import ImageTargets, LevelTargets
from jobs.media.drawing.colors import GREY, LOST, Color, Pixels, heat_colors
from jobs.media.drawing.labels import LabelWish, draw_label, place_labels
from jobs.media.drawing.outlines import Outline, draw_outline, hatch
from jobs.media.drawing.palette import class_color
from jobs.media.drawing.text import TextStyle, shortened
from jobs.media.drawing.view import View
from jobs.rendering.targets.location_map import paint_locations

CAUSES_IN_WORDS = {
    Cause.NO_LOCATION: "no location inside",
    Cause.OUT_OF_RANGE: "outside every range",
    Cause.CENTER_EMPTY: "centre region empty",
    Cause.SHADOWED: "all locations taken by smaller boxes",
}
SIDE_COLORS: dict[str, Color] = {
    "left": (86, 180, 255),
    "top": (255, 222, 60),
    "right": (255, 128, 64),
    "bottom": (70, 220, 150),
}
_LABEL_STYLE = TextStyle(size_px=14, weight=500)
_LONGEST_NAME_PX = 200
_DOT_RADIUS_PX = 2
_SMALL_PX = 24
_POSITIVE: Color = (120, 126, 136)


def cause_in_words(targets: ImageTargets, index: int) -> str | None:
    """Say why no location learns a box, by its index from 0; None for a box that is learned."""
    cause = Cause(int(targets.outcomes.causes[index]))
    if cause is Cause.RECALLED:
        return None
    if cause is not Cause.SHADOWED:
        return CAUSES_IN_WORDS[cause]
    shadows = targets.outcomes.shadows
    takers = np.unique(shadows.takers[shadows.lost == index]).tolist()
    return f"{CAUSES_IN_WORDS[cause]} ({', '.join(f'#{taker + 1}' for taker in takers)})"


def ground_truth_panel(
    view: View,
    targets: ImageTargets,
    categories: Sequence[Category],
    crowds: npt.NDArray[np.floating],
) -> Pixels:
    """Draw every box with its class and the levels that learn it, or why no level does.

    Categories are by label; crowds are xyxy in pixels of the network's input.
    """
    wishes: list[LabelWish] = []
    crowd_wishes: list[LabelWish] = []
    for crowd in crowds:
        corners = view.corners(crowd)
        hatch(view.pixels, corners)
        draw_outline(view.pixels, corners, Outline(color=GREY, width_px=1, has_shadow=True))
        crowd_wishes.append(LabelWish(box=corners, texts=["crowd"], color=GREY))
    # Large boxes first, so that small ones lie on top, and lost ones on top of all.
    sizes = (targets.boxes[:, 2:] - targets.boxes[:, :2]).prod(axis=1)
    for i in np.lexsort((-sizes, ~targets.outcomes.is_recalled)).tolist():
        category = categories[int(targets.labels[i])]
        is_lost = not targets.outcomes.is_recalled[i]
        color = LOST if is_lost else class_color(category.id)
        corners = view.corners(targets.boxes[i])
        draw_outline(view.pixels, corners, Outline(color=color, is_dashed=is_lost, has_shadow=True))
        texts = _label_texts(targets, i, category)
        wish = LabelWish(box=corners, texts=texts, color=color)
        wishes.insert(0, wish) if is_lost else wishes.append(wish)
    height, width = view.pixels.shape[:2]
    for label in place_labels([*wishes, *crowd_wishes], (height, width), _LABEL_STYLE):
        draw_label(view.pixels, label, _LABEL_STYLE)
    return view.pixels


def class_panel(view: View, level: LevelTargets, box_colors: Pixels) -> Pixels:
    """Paint each location in the colour of the class it learns, on a dimmed view.

    ``box_colors`` has the RGB of each box's class, boxes x 3.
    """
    # Locations that learn background have index -1: the added row, which is not painted.
    colors = np.concatenate([box_colors, np.zeros((1, 3), np.uint8)])
    paint_locations(view, level.x, level.y, colors[level.matched], level.is_positive)
    return view.pixels


def centerness_panel(view: View, level: LevelTargets) -> Pixels:
    """Paint each location in the colour of its centre-ness."""
    paint_locations(view, level.x, level.y, heat_colors(level.centerness), level.is_positive)
    return view.pixels


def distances_panel(
    view: View, level: LevelTargets, boxes: npt.NDArray[np.floating], box_colors: Pixels
) -> Pixels:
    """Draw the boxes that are learned, and the four distances from two locations of each box.

    The two are the most central and the most remote of the locations that learn the box. Boxes are
    xyxy in pixels of the network's input; ``box_colors`` has the RGB of each box's class.
    """
    greys = np.full((*level.matched.shape, 3), _POSITIVE, np.uint8)
    paint_locations(view, level.x, level.y, greys, level.is_positive)
    learned = np.unique(level.matched[level.is_positive]).tolist()
    for index in learned:
        red, green, blue = box_colors[index].tolist()
        outline = Outline(color=(red, green, blue), width_px=1)
        draw_outline(view.pixels, view.corners(boxes[index]), outline)
    for index in learned:
        for row, column in _shown_locations(level, index):
            _draw_distances(view, (level.x[column], level.y[row]), boxes[index])
    return view.pixels


def _label_texts(targets: ImageTargets, index: int, category: Category) -> list[str]:
    """Return the texts of a box's label, from long to short."""
    number = f"{index + 1}"
    name = shortened(category.name, _LABEL_STYLE, _LONGEST_NAME_PX)
    cause = cause_in_words(targets, index)
    if cause is not None:
        return [
            f"{number} {name}, lost: {cause}",
            f"{number} lost: {cause}",
            f"{number} lost",
            number,
        ]
    levels = " ".join(
        level.name
        for level, num_kept in zip(targets.levels, targets.outcomes.num_kept[index], strict=True)
        if num_kept
    )
    return [f"{number} {name} {levels}", f"{number} {levels}", number]


def _shown_locations(level: LevelTargets, index: int) -> list[tuple[int, int]]:
    """Return row and column of the most central and of the most remote location of a box."""
    rows, columns = np.nonzero(level.matched == index)
    scores = level.centerness[rows, columns]
    chosen = {int(scores.argmin()), int(scores.argmax())}
    return [(int(rows[i]), int(columns[i])) for i in sorted(chosen)]


def _draw_distances(
    view: View, location: tuple[float, float], box: npt.NDArray[np.floating]
) -> None:
    x, y = view.point(*location)
    x_min, y_min, x_max, y_max = view.corners(box)
    ends = {"left": (x_min, y), "top": (x, y_min), "right": (x_max, y), "bottom": (x, y_max)}
    for side, end in ends.items():
        cv2.line(view.pixels, (x, y), end, SIDE_COLORS[side], 1)
    is_small = min(x_max - x_min, y_max - y_min) < _SMALL_PX
    radius_px = 0 if is_small else _DOT_RADIUS_PX
    cv2.circle(view.pixels, (x, y), radius_px, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
