"""Ground truth of a run's images and frames, matched with their detections shard by shard."""

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
    xywh_to_xyxy,
    xyxy_to_xywh,
)
from jobs.annotations.coco_json import CocoAnnotations
from jobs.annotations.join import join_run
from jobs.annotations.true_boxes import true_boxes
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row

_SETTINGS = Settings(iou_thresholds=(AP50_IOU,), area_ranges=Settings().area_ranges[:1])

TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1
"""Outcome of a detection. Ignored is a detection in a crowd region, beyond the hundredth of its
class and image, or of a class that is not annotated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedImage:
    """One image or frame, its detections matched with its ground truth.

    All boxes are xyxy; ``boxes`` has no crowd regions. A box has the score of the detection that
    matches it, negative without a match.
    """

    row: Row
    outcomes: npt.NDArray[np.int8]
    boxes: npt.NDArray[np.float64]
    category_ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    matched_scores: npt.NDArray[np.float64]
    crowds: npt.NDArray[np.float64]

    def counts_at(self, score: float) -> tuple[int, int, int]:
        """Numbers of true positives, false positives and missed boxes, from a score on."""
        num_true = int((self.matched_scores >= score).sum())
        is_false = (self.outcomes == FALSE_POSITIVE) & (self.row.scores >= score)
        return num_true, int(is_false.sum()), len(self.boxes) - num_true

    def f1_at(self, score: float) -> float:
        """F1 of this image, from a score on; 1 without any boxes and detections."""
        num_true, num_false, num_missed = self.counts_at(score)
        whole = 2 * num_true + num_false + num_missed
        return 2 * num_true / whole if whole else 1.0


class RunGroundTruth:
    """Annotations, joined to the images and frames of a run.

    ``input_annotations`` is the uri of the COCO file that was the run's input, if one was.
    """

    def __init__(
        self, run: RunDirectory, annotations: CocoAnnotations, input_annotations: str | None
    ) -> None:
        join = join_run(run, annotations, input_annotations=input_annotations)
        self._annotated: dict[int, int] = {}
        for part in (join.images, join.frames):
            pairs = zip(part.image_ids.tolist(), part.annotated_ids.tolist(), strict=True)
            self._annotated.update(pairs)
        self._all = true_boxes(annotations)
        self._by_image = np.argsort(self._all.image_ids, kind="stable")
        self._sorted_ids = self._all.image_ids[self._by_image]
        self._category_ids = np.array(sorted(c.id for c in annotations.categories), np.int64)

    def is_annotated(self, row: Row) -> bool:
        """Whether the file has an entry for the row; it may describe only images or only frames."""
        return row.image_id in self._annotated

    def match(self, rows: Sequence[Row]) -> list[MatchedImage]:
        """Match the detections of rows with their ground truth, as COCO does, at ``AP50_IOU``.

        The rows are annotated, each of another image or frame.
        """
        image_ids = [self._annotated[row.image_id] for row in rows]
        own = [self._rows_of(image_id) for image_id in image_ids]
        truth = self._all.take(np.concatenate([np.zeros(0, np.int64), *own]))
        outcomes, matched_scores = self._match(rows, image_ids, truth)
        matched: list[MatchedImage] = []
        ends = np.cumsum([len(part) for part in own])
        detection_ends = np.cumsum([len(row.scores) for row in rows])
        for row, part, end, detection_end in zip(rows, own, ends, detection_ends, strict=True):
            mine = slice(int(end) - len(part), int(end))
            is_crowd = truth.is_crowd[mine]
            corners = xywh_to_xyxy(truth.boxes[mine])
            matched.append(
                MatchedImage(
                    row=row,
                    outcomes=outcomes[int(detection_end) - len(row.scores) : int(detection_end)],
                    boxes=corners[~is_crowd],
                    category_ids=truth.category_ids[mine][~is_crowd],
                    areas=truth.areas[mine][~is_crowd],
                    matched_scores=matched_scores[mine][~is_crowd],
                    crowds=corners[is_crowd],
                )
            )
        return matched

    def _rows_of(self, image_id: int) -> npt.NDArray[np.int64]:
        first = np.searchsorted(self._sorted_ids, image_id, side="left")
        last = np.searchsorted(self._sorted_ids, image_id, side="right")
        return self._by_image[first:last]

    def _match(
        self, rows: Sequence[Row], image_ids: Sequence[int], truth: TrueBoxes
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
        """The outcome of each detection, and the score of the detection that matches each box."""
        found = DetectedBoxes(
            image_ids=np.repeat(np.array(image_ids, np.int64), [len(row.scores) for row in rows]),
            category_ids=_joined([row.category_ids for row in rows], np.int64),
            boxes=xyxy_to_xywh(_joined([row.boxes for row in rows], np.float64).reshape(-1, 4)),
            scores=_joined([row.scores for row in rows], np.float64),
        )
        order = canonical_order(found)
        matches = match(truth, found.take(order), self._category_ids, _SETTINGS)
        outcomes = np.full(len(found), IGNORED, np.int8)
        outcomes[order[matches.rows]] = FALSE_POSITIVE
        hits = order[matches.rows[matches.hits]]
        finds, is_ignored = matches.found[:, 0, 0], matches.is_ignored[:, 0, 0]
        is_true_positive = (finds != NOTHING) & ~is_ignored
        outcomes[hits[is_true_positive]] = TRUE_POSITIVE
        outcomes[hits[is_ignored]] = IGNORED
        matched_scores = np.full(len(truth), -1.0)
        matched_scores[finds[is_true_positive]] = found.scores[hits[is_true_positive]]
        return outcomes, matched_scores


def _joined(parts: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *(part.reshape(-1).astype(kind) for part in parts)])
