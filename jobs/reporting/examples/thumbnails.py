"""Examples as small JPEGs, with detections and ground truth drawn on them.

Solid boxes are detections: true positives in the colour of their class, false positives red. Dashed
boxes are annotated objects, red if they are missed. Crowd regions are hatched.
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
from jobs.reporting.examples.ground_truth import IGNORED, TRUE_POSITIVE, MatchedImage
from jobs.reporting.examples.selection import Example
from jobs.rundir.rows import Row

_log = logging.getLogger(__name__)

_LONGEST_NAME = 24
_WIDTH_PX, _FOCUS_WIDTH_PX = 2, 4
# An example with a focus shows only boxes that overlap the focused box by at least this.
_LEAST_IOU = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mark:
    """A box to draw; ``texts`` are alternative labels, the longest first."""

    box: Box
    outline: Outline
    texts: Sequence[str] = ()
    is_focus: bool = False


class ThumbnailRenderer:
    """Draws examples as thumbnails, with the detections from ``score`` on.

    ``frames`` is None for a run without videos.
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

    def draw(self, example: Example) -> Thumbnail | None:
        """Draw one example; None if it cannot be read or its size has changed since the run."""
        row = example.row
        try:
            pixels = self._pixels(row)
        except (DataError, StorageError) as error:
            _log.warning("not shown in the report: %s", error)
            return None
        if pixels.shape[:2] != (row.height, row.width):
            _log.warning("not shown in the report: %s: its size has changed since the run", row.uri)
            return None
        marks = [*self._objects(example), *self._detections(example)]
        focus = next((mark.box for mark in marks if mark.is_focus), None)
        if focus is not None:
            marks = [mark for mark in marks if _iou(mark.box, focus) >= _LEAST_IOU]
        canvas = Canvas.of(pixels, focus)
        for crowd in () if example.matched is None else example.matched.crowds:
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
            description=self._description(example),
        )

    def _pixels(self, row: Row) -> Pixels:
        if row.frame_index is None:
            return decode_image(self._read(row), place=row.uri)
        assert self._frames is not None
        return self._frames.read(row)

    def _objects(self, example: Example) -> Iterator[_Mark]:
        matched = example.matched
        if matched is None:
            return
        for i, box in enumerate(matched.boxes):
            if matched.matched_scores[i] >= self._score:
                outline = Outline(color=PAPER, is_dashed=True, has_shadow=True)
                yield _Mark(box=box, outline=outline)
                continue
            is_focus = i == example.box
            name = self._name(matched.category_ids[i])
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

    def _detections(self, example: Example) -> Iterator[_Mark]:
        row, outcomes = example.row, None if example.matched is None else example.matched.outcomes
        is_shown = row.scores >= self._score
        if outcomes is not None:
            is_shown &= outcomes != IGNORED
        if example.detection is not None:
            is_shown[example.detection] = True
        # By rising score, so that the best one is drawn on top.
        for i in np.flatnonzero(is_shown)[::-1].tolist():
            has_class_color = outcomes is None or outcomes[i] == TRUE_POSITIVE
            is_focus = i == example.detection
            score = f"{row.scores[i]:.2f}"
            yield _Mark(
                box=row.boxes[i],
                outline=Outline(
                    color=class_color(int(row.category_ids[i])) if has_class_color else LOST,
                    width_px=_FOCUS_WIDTH_PX if is_focus else _WIDTH_PX,
                    has_shadow=True,
                ),
                texts=(f"{self._name(row.category_ids[i])} {score}", score),
                is_focus=is_focus,
            )

    def _name(self, category_id: SupportsInt) -> str:
        name = self._names.get(int(category_id), f"category {category_id}")
        return formats.text(name, _LONGEST_NAME)

    def _description(self, example: Example) -> str:
        row, matched = example.row, example.matched
        if matched is None:
            num_found = int((row.scores >= self._score).sum())
            return formats.counted(num_found, "detection")
        if example.detection is not None:
            name = self._name(row.category_ids[example.detection])
            return f"{name} {row.scores[example.detection]:.2f} matches no annotated {name}"
        if example.box is not None:
            name = self._name(matched.category_ids[example.box])
            x_min, y_min, x_max, y_max = matched.boxes[example.box]
            return f"missed {name}, {x_max - x_min:.0f} x {y_max - y_min:.0f} px"
        return self._counted(matched)

    def _counted(self, matched: MatchedImage) -> str:
        num_true, num_false, num_missed = matched.counts_at(self._score)
        return (
            f"F1 {matched.f1_at(self._score):.2f}: {num_true} of "
            f"{formats.counted(num_true + num_missed, 'object')} found, "
            f"{formats.counted(num_false, 'false positive')}"
        )


def _place(row: Row) -> str:
    """Number and time of a frame; empty for an image."""
    if row.frame_index is None:
        return ""
    time = "" if row.timestamp_s is None else f" ({row.timestamp_s:.2f} s)"
    return f", frame {row.frame_index}{time}"


def _wishes(canvas: Canvas, marks: Sequence[_Mark]) -> list[LabelWish]:
    """The labels of the boxes, that of the focused box first."""
    labelled = sorted((mark for mark in marks if mark.texts), key=lambda mark: not mark.is_focus)
    return [
        LabelWish(box=canvas.corners(mark.box), texts=mark.texts, color=mark.outline.color)
        for mark in labelled
    ]


def _iou(box: Box, other: Box) -> float:
    """IoU of two boxes; without area 1 for the same box, 0 for two."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    whole = float(np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / whole if whole > 0 else float(box is other)
