"""Where recall is lost between ground truth and the final numbers: a ladder with counted steps.

Each step demands more of a ground-truth box than the one before, and a box is on a step only if it
is on all steps below, so the loss between two steps has one cause:

1. ``ground_truth``: every box to find: no crowd, of a scored category, with an area
   in the first range ("all").
2. ``assignable``: training could recall it, by the best possible recall (section 4.1 of FCOS,
   arXiv 1904.01355). An input of this module; the step is left out without it.
3. ``found``: a detection of its image overlaps it by IoU 0.5, whatever its class and its score; one
   detection may find several boxes.
4. ``right_class``: COCO's greedy matching of its category at IoU 0.5, area "all", gives it a
   detection, whatever the score. This implies ``found``.
5. ``over_threshold``: the score of that detection is the threshold or more.
6. ``top_100``: that detection is one of the 100 best of its image, over all classes; of equal
   scores the first given ranks first. COCO's limit of 100 holds for each category on its own and
   is part of step 4. A detector that keeps 100 detections per image loses nothing here.

:func:`ladder_boxes` works on a block of images and needs no score threshold, so a threshold that
follows from the whole run needs no second pass. Counts are integers that add up over blocks.

Letters: ``G`` ground-truth boxes, ``D`` detections, ``K`` categories, ``S`` steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from fcos_core.metrics.coco import (
    AP50_IOU,
    NOTHING,
    SIZE_NAMES,
    DetectedBoxes,
    Matches,
    Settings,
    TrueBoxes,
)
from fcos_core.metrics.coco.structures import UNKNOWN, category_indices
from fcos_core.metrics.counting import ranks_within
from fcos_core.metrics.explain.overlaps import is_ignored_box, overlapping

_NO_PLACE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class LadderBoxes:
    """The boxes to find, each with what decides its last step under any score threshold.

    Args:
        category: index of the box's category.
        area: index into ``SIZE_NAMES``.
        is_assignable: whether training could recall it; None where that is not known.
        is_found: whether any detection overlaps it.
        score: score of its matched detection; -inf without one.
        place: rank of that detection in its image, from 0; the largest integer without one.
    """

    category: Int64[np.ndarray, " G"]
    area: Int64[np.ndarray, " G"]
    is_assignable: Bool[np.ndarray, " G"] | None
    is_found: Bool[np.ndarray, " G"]
    score: Float64[np.ndarray, " G"]
    place: Int64[np.ndarray, " G"]


def ladder_boxes(
    truth: TrueBoxes,
    detections: DetectedBoxes,
    matches: Matches,
    category_ids: Int64[np.ndarray, " K"],
    settings: Settings,
    *,
    is_assignable: Bool[np.ndarray, " G"] | None = None,
) -> LadderBoxes:
    """Find out what decides the last step of each box to find of some images.

    Args:
        truth: ground truth of these images.
        detections: all detections that the run kept in these images.
        matches: matches of both, with the same categories and settings.
        category_ids: ids of the scored categories, rising.
        settings: its IoU thresholds include 0.5; its area ranges are all, small, medium, large.
        is_assignable: per row of ``truth``; values of crowds do not matter.
    """
    category = category_indices(truth.category_ids, category_ids)
    to_find = np.flatnonzero((category != UNKNOWN) & ~is_ignored_box(truth, settings))
    detection = _detection_of_each(matches, len(truth), settings)[to_find]
    # A box with an area on an edge is in both of COCO's ranges; here it is in the upper one.
    edges = np.array([low for low, _ in settings.area_ranges[2:]])
    # NOTHING is -1 and picks what is appended.
    places = np.append(_places_in_image(detections)[matches.rows], _NO_PLACE)
    pairs = overlapping(detections, np.arange(len(detections)), truth, to_find, AP50_IOU)
    return LadderBoxes(
        category=category[to_find],
        area=np.searchsorted(edges, truth.areas[to_find], side="right"),
        is_assignable=None if is_assignable is None else is_assignable[to_find],
        is_found=np.isin(to_find, pairs.box),
        score=np.append(matches.scores, -np.inf)[detection],
        place=places[detection],
    )


@dataclass(frozen=True)
class LadderCounts:
    """Boxes on each step, in integers that add up over blocks of images.

    Args:
        names: names of the steps, the lowest first.
        boxes: boxes on each step, by category and ``SIZE_NAMES``.
        assignable_by_found: boxes by whether they are assignable and whether they are found,
            independently, "no" first; zeros where assignability is not known.
    """

    names: tuple[str, ...]
    boxes: Int64[np.ndarray, "S K 3"]
    assignable_by_found: Int64[np.ndarray, "2 2"]

    def __add__(self, other: "LadderCounts") -> "LadderCounts":
        """The counts of both, which must have the same steps and categories."""
        assert self.names == other.names
        return LadderCounts(
            self.names,
            self.boxes + other.boxes,
            self.assignable_by_found + other.assignable_by_found,
        )


def count_steps(
    ladder: LadderBoxes, num_categories: int, *, score_threshold: float, limit: int = 100
) -> LadderCounts:
    """Count the boxes of some images on every step.

    A score equal to the threshold is over it; ``limit`` is the number of detections per image, over
    all classes, of the last step.
    """
    claims = {
        "ground_truth": np.ones(len(ladder.category), np.bool_),
        "assignable": ladder.is_assignable,
        "found": ladder.is_found,
        "right_class": ladder.place < _NO_PLACE,
        "over_threshold": ladder.score >= score_threshold,
        f"top_{limit}": ladder.place < limit,
    }
    steps = {name: claim for name, claim in claims.items() if claim is not None}
    is_on = np.logical_and.accumulate(list(steps.values()), axis=0)
    step, box = np.nonzero(is_on)
    boxes = np.zeros((len(steps), num_categories, len(SIZE_NAMES)), np.int64)
    np.add.at(boxes, (step, ladder.category[box], ladder.area[box]), 1)

    table = np.zeros((2, 2), np.int64)
    if ladder.is_assignable is not None:
        answers = (ladder.is_assignable.astype(int), ladder.is_found.astype(int))
        np.add.at(table, answers, 1)
    return LadderCounts(tuple(steps), boxes, table)


def describe(
    counts: LadderCounts, class_names: Sequence[str], averages: dict[str, float]
) -> dict[str, Any]:
    """Describe the counts of the whole dataset for JSON.

    ``averages`` are numbers after the last step, such as AR100 and AP, passed through: no counts of
    boxes, but means over categories and IoU thresholds that no score threshold enters.
    """
    assert counts.boxes.shape[1] == len(class_names)
    # Nothing is lost on the way to the first step.
    before = np.concatenate([counts.boxes[:1], counts.boxes[:-1]])
    return {
        "classes": list(class_names),
        "steps": [
            {
                "name": name,
                "boxes": int(boxes.sum()),
                "boxes_by_area": _by_area(boxes),
                "boxes_by_class": boxes.sum(axis=1).tolist(),
                "lost": int(lost.sum()),
                "lost_by_area": _by_area(lost),
                "lost_by_class": lost.sum(axis=1).tolist(),
            }
            for name, boxes, lost in zip(
                counts.names, counts.boxes, before - counts.boxes, strict=True
            )
        ],
        "averages": dict(averages),
        "assignable_by_found": _describe_table(counts),
    }


def _by_area(boxes: Int64[np.ndarray, "K 3"]) -> dict[str, int]:
    return dict(zip(SIZE_NAMES, boxes.sum(axis=0).tolist(), strict=True))


def _describe_table(counts: LadderCounts) -> dict[str, dict[str, int]] | None:
    if "assignable" not in counts.names:
        return None
    return {
        row: dict(zip(("not_found", "found"), numbers, strict=True))
        for row, numbers in zip(
            ("not_assignable", "assignable"), counts.assignable_by_found.tolist(), strict=True
        )
    }


def _detection_of_each(
    matches: Matches, num_boxes: int, settings: Settings
) -> Int64[np.ndarray, " G"]:
    """Index into ``matches.rows`` of the detection that COCO's matching gives each box."""
    found = matches.found[:, settings.iou_thresholds.index(AP50_IOU), 0]
    is_hit = found != NOTHING
    detection = np.full(num_boxes, NOTHING, np.int64)
    detection[found[is_hit]] = matches.hits[is_hit]
    return detection


def _places_in_image(detections: DetectedBoxes) -> Int64[np.ndarray, " D"]:
    order = np.lexsort((-detections.scores, detections.image_ids))
    places = np.empty(len(detections), np.int64)
    places[order] = ranks_within(detections.image_ids[order])
    return places
