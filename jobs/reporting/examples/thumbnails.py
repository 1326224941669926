"""Images of a run as small JPEGs, with what was found and what is there drawn on them.

Solid boxes are detections, in the colour of their class when they find an object and red when they
find none; dashed boxes are annotated objects, red when they are missed. Regions that do not count
are hatched.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import SupportsInt

import numpy as np

from fcos_core.errors import DataError, StorageError
from jobs.html import formats
from jobs.html.thumbnail import Thumbnail
from jobs.inputs.relocated import ReadImage
from jobs.media.drawing.colors import LOST, PAPER, Pixels
from jobs.media.drawing.labels import LabelWish
from jobs.media.drawing.outlines import Outline
from jobs.media.drawing.palette import class_color
from jobs.media.image.decode import decode_image
from jobs.reporting.examples.canvas import Box, Canvas
from jobs.reporting.examples.frames import FrameReader
from jobs.reporting.examples.selection import Choice
from jobs.reporting.examples.truth import RIGHT, UNCOUNTED, JudgedImage
from jobs.rundir.rows import Row

_log = logging.getLogger(__name__)

_LONGEST_NAME = 24
_WIDTH_PX, _FOCUS_WIDTH_PX = 2, 4
# An image that is shown for one box shows the boxes that overlap it so much.
_LEAST_IOU = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mark:
    """A box to draw; ``texts`` are what may stand beside it, from long to short."""

    box: Box
    outline: Outline
    texts: Sequence[str] = ()
    is_focus: bool = False


class Drawer:
    """Draws chosen images.

    Args:
        read: gives an image's file.
        names: of the categories, by id.
        score: from which on detections are drawn.
        frames: decodes frames of videos, where there are any.
    """

    def __init__(
        self,
        read: ReadImage,
        names: Mapping[int, str],
        score: float,
        frames: FrameReader | None = None,
    ) -> None:
        self._read = read
        self._frames = frames
        self._names = names
        self._score = score

    def draw(self, choice: Choice) -> Thumbnail | None:
        """Draw one image; None when it cannot be read here, or is not what it was."""
        row = choice.row
        try:
            pixels = self._pixels(row)
        except (DataError, StorageError) as error:
            _log.warning("not shown in the report: %s", error)
            return None
        if pixels.shape[:2] != (row.height, row.width):
            _log.warning("not shown in the report: %s: its size has changed since", row.uri)
            return None
        marks = [*self._objects(choice), *self._detections(choice)]
        focus = next((mark.box for mark in marks if mark.is_focus), None)
        if focus is not None:
            marks = [mark for mark in marks if _iou(mark.box, focus) >= _LEAST_IOU]
        canvas = Canvas.of(pixels, focus)
        for crowd in () if choice.judged is None else choice.judged.crowds:
            canvas.hatch(crowd)
        for mark in marks:
            canvas.outline(mark.box, mark.outline)
        canvas.label(_wishes(canvas, marks))
        height, width = canvas.shape
        return Thumbnail(
            jpeg=canvas.jpeg(),
            width=width,
            height=height,
            caption=formats.text(posixpath.basename(row.uri), 60) + _place(row),
            about=self._about(choice),
        )

    def _pixels(self, row: Row) -> Pixels:
        if row.frame_index is None:
            return decode_image(self._read(row), place=row.uri)
        assert self._frames is not None
        return self._frames.read(row)

    def _objects(self, choice: Choice) -> Iterator[_Mark]:
        """What is annotated.

        Yields:
            A dashed box for each object.
        """
        judged = choice.judged
        if judged is None:
            return
        for i, box in enumerate(judged.boxes):
            if judged.found_at[i] >= self._score:
                outline = Outline(color=PAPER, is_dashed=True, has_shadow=True)
                yield _Mark(box=box, outline=outline)
                continue
            is_focus = i == choice.box
            name = self._name(judged.category_ids[i])
            yield _Mark(
                box=box,
                outline=Outline(
                    color=LOST,
                    width_px=_FOCUS_WIDTH_PX if is_focus else _WIDTH_PX,
                    is_dashed=True,
                    has_shadow=True,
                ),
                texts=(f"missed {name}", f"{name}?", "?"),
                is_focus=is_focus,
            )

    def _detections(self, choice: Choice) -> Iterator[_Mark]:
        """What was found, the least confident first: the others lie on top of them.

        Yields:
            A solid box for each detection that counts.
        """
        row, verdicts = choice.row, None if choice.judged is None else choice.judged.verdicts
        is_shown = row.scores >= self._score
        if verdicts is not None:
            is_shown &= verdicts != UNCOUNTED
        if choice.detection is not None:
            is_shown[choice.detection] = True
        for i in np.flatnonzero(is_shown)[::-1].tolist():
            is_right = verdicts is None or verdicts[i] == RIGHT
            is_focus = i == choice.detection
            score = f"{row.scores[i]:.2f}"
            yield _Mark(
                box=row.boxes[i],
                outline=Outline(
                    color=class_color(int(row.category_ids[i])) if is_right else LOST,
                    width_px=_FOCUS_WIDTH_PX if is_focus else _WIDTH_PX,
                    has_shadow=True,
                ),
                texts=(f"{self._name(row.category_ids[i])} {score}", score),
                is_focus=is_focus,
            )

    def _name(self, category_id: SupportsInt) -> str:
        name = self._names.get(int(category_id), f"category {category_id}")
        return formats.text(name, _LONGEST_NAME)

    def _about(self, choice: Choice) -> str:
        row, judged = choice.row, choice.judged
        if judged is None:
            num_found = int((row.scores >= self._score).sum())
            return formats.counted(num_found, "detection")
        if choice.detection is not None:
            name = self._name(row.category_ids[choice.detection])
            return f"{name} {row.scores[choice.detection]:.2f} finds no annotated {name}"
        if choice.box is not None:
            name = self._name(judged.category_ids[choice.box])
            x_min, y_min, x_max, y_max = judged.boxes[choice.box]
            return f"{name} missed, {x_max - x_min:.0f} by {y_max - y_min:.0f} px"
        return self._counted(judged)

    def _counted(self, judged: JudgedImage) -> str:
        num_found, num_wrong, num_missed = judged.counts_at(self._score)
        found = f"{num_found} of {num_found + num_missed} found, {num_wrong} wrong"
        return f"F1 {judged.f1_at(self._score):.2f}: {found}"


def _place(row: Row) -> str:
    """Which frame of a video it is; nothing for an image."""
    if row.frame_index is None:
        return ""
    time = "" if row.timestamp_s is None else f" ({row.timestamp_s:.2f} s)"
    return f", frame {row.frame_index}{time}"


def _wishes(canvas: Canvas, marks: Sequence[_Mark]) -> list[LabelWish]:
    """What to write beside the boxes: first of all what the image is shown for."""
    told = sorted((mark for mark in marks if mark.texts), key=lambda mark: not mark.is_focus)
    return [
        LabelWish(box=canvas.corners(mark.box), texts=mark.texts, color=mark.outline.color)
        for mark in told
    ]


def _iou(box: Box, other: Box) -> float:
    """How much two boxes overlap, 0 for two without area."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    whole = float(np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / whole if whole > 0 else float(box is other)
