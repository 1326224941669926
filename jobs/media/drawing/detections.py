"""Draws detections on an image: a box, the name of its class and the score, legible at any size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from jobs.media.drawing.colors import Pixels
from jobs.media.drawing.labels import LabelWish, draw_label, place_labels
from jobs.media.drawing.outlines import Corners, Outline, draw_outline
from jobs.media.drawing.palette import class_color
from jobs.media.drawing.text import TextStyle, shortened

# Per pixel of a square as large as the image.
_LINE, _LETTERS = 0.0028, 0.02
_LEAST_LINE_PX, _LEAST_LETTERS_PX = 2, 12
# Letters of that size need this much; smaller images are enlarged.
_LEAST_SIDE_PX = 320
_LONGEST_NAME = 0.5  # of the image's width


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectedBoxes:
    """The detections of one image, by falling score; boxes are xyxy in pixels of the image."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    category_ids: npt.NDArray[np.int32]

    def chosen(self, min_score: float, category_ids: frozenset[int] | None) -> DetectedBoxes:
        """Return the detections with at least this score, of these categories; None for all."""
        is_chosen = self.scores >= np.float32(min_score)
        if category_ids is not None:
            is_chosen &= np.isin(self.category_ids, list(category_ids))
        return DetectedBoxes(
            boxes=self.boxes[is_chosen],
            scores=self.scores[is_chosen],
            category_ids=self.category_ids[is_chosen],
        )


NO_BOXES = DetectedBoxes(
    boxes=np.zeros((0, 4), np.float32),
    scores=np.zeros(0, np.float32),
    category_ids=np.zeros(0, np.int32),
)


def draw_detections(pixels: Pixels, found: DetectedBoxes, names: Mapping[int, str]) -> None:
    """Draw boxes in place, with labels that cover no other label.

    Lines and letters grow with the image. The most confident box lies on top and gets the best
    place for its label; where there is no room, the score or the label is left out.
    """
    height, width = pixels.shape[:2]
    side = math.sqrt(height * width)
    style = TextStyle(size_px=max(_LEAST_LETTERS_PX, round(_LETTERS * side)), weight=600)
    line_px = max(_LEAST_LINE_PX, round(_LINE * side))
    wishes: list[LabelWish] = []
    for box, score, category_id in zip(
        found.boxes, found.scores, found.category_ids.tolist(), strict=True
    ):
        corners = _corners(box, (height, width))
        if corners is None:
            continue
        name = names.get(category_id, f"category {category_id}")
        name = shortened(name, style, round(_LONGEST_NAME * width))
        texts = (f"{name} {score:.2f}", name)
        wishes.append(LabelWish(box=corners, texts=texts, color=class_color(category_id)))
    for wish in reversed(wishes):
        outline = Outline(color=wish.color, width_px=line_px, has_shadow=True)
        draw_outline(pixels, wish.box, outline)
    for label in place_labels(wishes, (height, width), style):
        draw_label(pixels, label, style)


def enlarged(pixels: Pixels, found: DetectedBoxes) -> tuple[Pixels, DetectedBoxes]:
    """Enlarge an image that is too small for letters, and its boxes; others are not changed.

    Each pixel becomes a square of pixels; the longer side gets ``_LEAST_SIDE_PX`` or more.
    """
    height, width = pixels.shape[:2]
    factor = math.ceil(_LEAST_SIDE_PX / max(height, width))
    if factor <= 1:
        return pixels, found
    size = (width * factor, height * factor)
    larger = cast("Pixels", cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST))
    return larger, DetectedBoxes(
        boxes=found.boxes * np.float32(factor),
        scores=found.scores,
        category_ids=found.category_ids,
    )


def _corners(box: npt.NDArray[np.float32], shape: tuple[int, int]) -> Corners | None:
    """Return the pixels of a box's corners; None for a box outside of the image."""
    height, width = shape
    if not np.isfinite(box).all():
        return None
    x_min, y_min = math.floor(box[0]), math.floor(box[1])
    x_max, y_max = math.ceil(box[2]) - 1, math.ceil(box[3]) - 1
    if x_max < 0 or y_max < 0 or x_min >= width or y_min >= height:
        return None
    return (
        max(x_min, 0),
        max(y_min, 0),
        min(max(x_max, x_min), width - 1),
        min(max(y_max, y_min), height - 1),
    )
