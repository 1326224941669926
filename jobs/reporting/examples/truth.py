"""The ground truth of a run's images, and what became of it: judged one shard at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fcos_core.metrics.coco import (
    AP50_IOU,
    NOTHING,
    DetectedBoxes,
    Settings,
    TrueBoxes,
    canonical_order,
    match,
)
from jobs.annotations.coco_json import CocoAnnotations
from jobs.annotations.join import join_run
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row

_SETTINGS = Settings(iou_thresholds=(AP50_IOU,), area_ranges=Settings().area_ranges[:1])

RIGHT, WRONG, UNCOUNTED = 1, 0, -1
"""What a detection is: it found a box, it found none, or it does not count: in a crowd, beyond the
hundredth of its class and image, or of a class that is not annotated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedImage:
    """One image with its ground truth, and what became of both.

    Attributes:
        row: of the run.
        verdicts: of each detection of the row.
        boxes: xyxy of the ground truth, without crowds.
        category_ids: of the ground truth.
        areas: of the ground truth, as annotated.
        found_at: score of the detection that found each box; negative for a box that none found.
        crowds: xyxy of crowd regions.
    """

    row: Row
    verdicts: npt.NDArray[np.int8]
    boxes: npt.NDArray[np.float64]
    category_ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    found_at: npt.NDArray[np.float64]
    crowds: npt.NDArray[np.float64]

    def counts_at(self, score: float) -> tuple[int, int, int]:
        """Boxes found, detections that found nothing, and boxes missed, from a score on."""
        num_found = int((self.found_at >= score).sum())
        is_wrong = (self.verdicts == WRONG) & (self.row.scores >= score)
        return num_found, int(is_wrong.sum()), len(self.boxes) - num_found

    def f1_at(self, score: float) -> float:
        """Harmonic mean of precision and recall on this image; 1 where nothing is to be found."""
        num_found, num_wrong, num_missed = self.counts_at(score)
        whole = 2 * num_found + num_wrong + num_missed
        return 2 * num_found / whole if whole else 1.0


class Truth:
    """Annotations, by the images and frames of a run.

    Args:
        run: the run.
        annotations: the file, with its file names.
        input_annotations: uri of the COCO file that was the run's input, if it was one.
    """

    def __init__(
        self, run: RunDirectory, annotations: CocoAnnotations, input_annotations: str | None
    ) -> None:
        join = join_run(run, annotations, input_annotations=input_annotations)
        self._annotated: dict[int, int] = {}
        for part in (join.images, join.frames):
            pairs = zip(part.image_ids.tolist(), part.annotated_ids.tolist(), strict=True)
            self._annotated.update(pairs)
        ids_by_label = np.array([category.id for category in annotations.categories], np.int64)
        image_ids = annotations.image_ids[annotations.image_index]
        self._all = TrueBoxes(
            image_ids=image_ids,
            category_ids=ids_by_label[annotations.labels],
            boxes=annotations.boxes,
            areas=annotations.areas,
            is_crowd=annotations.is_crowd,
        )
        self._by_image = np.argsort(image_ids, kind="stable")
        self._sorted_ids = image_ids[self._by_image]
        self._category_ids = np.sort(ids_by_label)

    def knows(self, row: Row) -> bool:
        """Whether it is annotated: a file may be about images only, or about frames only."""
        return row.image_id in self._annotated

    def judge(self, rows: Sequence[Row]) -> list[JudgedImage]:
        """Match the detections of some rows, as COCO does, at ``AP50_IOU``.

        Args:
            rows: of the run that it knows; each of another image or frame.
        """
        image_ids = [self._annotated[row.image_id] for row in rows]
        own = [self._rows_of(image_id) for image_id in image_ids]
        chosen = np.concatenate([np.zeros(0, np.int64), *own])
        every = self._all
        truth = TrueBoxes(
            image_ids=every.image_ids[chosen],
            category_ids=every.category_ids[chosen],
            boxes=every.boxes[chosen],
            areas=every.areas[chosen],
            is_crowd=every.is_crowd[chosen],
        )
        verdicts, found_at = self._match(rows, image_ids, truth)
        judged: list[JudgedImage] = []
        ends = np.cumsum([len(part) for part in own])
        detection_ends = np.cumsum([len(row.scores) for row in rows])
        for row, part, end, detection_end in zip(rows, own, ends, detection_ends, strict=True):
            mine = slice(int(end) - len(part), int(end))
            is_crowd = truth.is_crowd[mine]
            corners = _corners(truth.boxes[mine])
            judged.append(
                JudgedImage(
                    row=row,
                    verdicts=verdicts[int(detection_end) - len(row.scores) : int(detection_end)],
                    boxes=corners[~is_crowd],
                    category_ids=truth.category_ids[mine][~is_crowd],
                    areas=truth.areas[mine][~is_crowd],
                    found_at=found_at[mine][~is_crowd],
                    crowds=corners[is_crowd],
                )
            )
        return judged

    def _rows_of(self, image_id: int) -> npt.NDArray[np.int64]:
        first, last = np.searchsorted(self._sorted_ids, [image_id, image_id + 1])
        return self._by_image[first:last]

    def _match(
        self, rows: Sequence[Row], image_ids: Sequence[int], truth: TrueBoxes
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
        """The verdict on every detection of the rows, and the score that found every box."""
        found = DetectedBoxes(
            image_ids=np.repeat(np.array(image_ids, np.int64), [len(row.scores) for row in rows]),
            category_ids=_joined([row.category_ids for row in rows], np.int64),
            boxes=_with_sizes(_joined([row.boxes for row in rows], np.float64).reshape(-1, 4)),
            scores=_joined([row.scores for row in rows], np.float64),
        )
        order = canonical_order(found)
        ranked = DetectedBoxes(
            found.image_ids[order], found.category_ids[order], found.boxes[order],
            found.scores[order],
        )  # fmt: skip
        matches = match(truth, ranked, self._category_ids, _SETTINGS)
        verdicts = np.full(len(found), UNCOUNTED, np.int8)
        verdicts[order[matches.rows]] = WRONG
        hits = order[matches.rows[matches.hits]]
        finds, is_ignored = matches.found[:, 0, 0], matches.is_ignored[:, 0, 0]
        is_right = (finds != NOTHING) & ~is_ignored
        verdicts[hits[is_right]] = RIGHT
        verdicts[hits[is_ignored]] = UNCOUNTED
        found_at = np.full(len(truth), -1.0)
        found_at[finds[is_right]] = found.scores[hits[is_right]]
        return verdicts, found_at


def _joined(parts: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *(part.reshape(-1).astype(kind) for part in parts)])


def _with_sizes(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn xyxy into ``x, y, width, height``."""
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _corners(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn ``x, y, width, height`` into xyxy."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
