"""Precision, recall and F1 at score thresholds, and the threshold with the best F1.

COCO's matching goes by falling score, so a detection finds the same box whether or not worse ones
are there: a threshold needs no new matching. F1 changes only at the scores of detections, so the
best threshold is one of these, and all are tried. Detections are kept from the threshold on, itself
included; those that COCO ignores are left out.

Letters: ``D`` detections, ``S`` distinct scores, ``N`` rows of any number of categories, ``Q``
thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.coco import AP50_IOU, CategoryMatches, Settings
from fcos_core.metrics.coco.summary import shares
from fcos_core.metrics.explain.outcomes import ANY_SIZE, outcomes

# Where curves are drawn; the best threshold is looked for among all scores.
_DRAWN = np.arange(101) / 100


@dataclass(frozen=True)
class ScoreSteps:
    """Number of detections at each score.

    Args:
        scores: distinct, falling.
        num_detections: detections with each score.
        num_true: those that find a box.
        num_boxes: boxes to find.
    """

    scores: Float64[np.ndarray, " S"]
    num_detections: Int64[np.ndarray, " S"]
    num_true: Int64[np.ndarray, " S"]
    num_boxes: int


@dataclass(frozen=True)
class _Left:
    """Numbers at thresholds; ``UNDEFINED`` where the denominator is 0."""

    precision: Float64[np.ndarray, " Q"]
    recall: Float64[np.ndarray, " Q"]
    f1: Float64[np.ndarray, " Q"]


def steps(matches: CategoryMatches, settings: Settings) -> ScoreSteps:
    """Count one category's detections, of all images, by score."""
    outcome = outcomes(matches, settings)
    counted = np.flatnonzero(~outcome.is_ignored)
    return _steps(
        matches.scores[counted],
        np.ones(len(counted), np.int64),
        outcome.is_true[counted].astype(np.int64),
        int(matches.num_boxes[ANY_SIZE]),
    )


def added(parts: Sequence[ScoreSteps]) -> ScoreSteps:
    """Count the detections of several categories, at least one, as if they were of one."""
    return _steps(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.num_detections for part in parts]),
        np.concatenate([part.num_true for part in parts]),
        sum(part.num_boxes for part in parts),
    )


def describe(parts: Sequence[ScoreSteps], category_ids: Sequence[int]) -> dict[str, Any]:
    """Describe thresholds for JSON: floats in 0..1, -1 where undefined.

    Over all categories there is one threshold, and detections and boxes are counted together
    (micro), detections of categories without a box to find as well.

    Returns:
        The thresholds of the curves; over all, and of each category, precision, recall and F1 at
        these and at the best threshold: that with the largest F1, the highest of several. Without
        boxes or without detections there is no best threshold (null).
    """
    return {
        "iou": AP50_IOU,
        "score": _DRAWN.tolist(),
        "overall": _describe(added(parts)) if parts else None,
        "per_category": [
            {"category_id": category_id, **_describe(part)}
            for category_id, part in zip(category_ids, parts, strict=True)
        ],
    }


def _steps(
    scores: Float64[np.ndarray, " N"],
    num_detections: Int64[np.ndarray, " N"],
    num_true: Int64[np.ndarray, " N"],
    num_boxes: int,
) -> ScoreSteps:
    falling, place = np.unique(-scores, return_inverse=True)

    def per_score(numbers: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " S"]:
        sums = np.zeros(len(falling), np.int64)
        np.add.at(sums, place, numbers)
        return sums

    return ScoreSteps(-falling, per_score(num_detections), per_score(num_true), num_boxes)


def _describe(part: ScoreSteps) -> dict[str, Any]:
    drawn = _left(part, _DRAWN)
    return {
        "boxes": part.num_boxes,
        "best": _best(part),
        "precision": drawn.precision.tolist(),
        "recall": drawn.recall.tolist(),
        "f1": drawn.f1.tolist(),
    }


def _best(part: ScoreSteps) -> dict[str, float] | None:
    if not part.num_boxes or not len(part.scores):
        return None
    left = _left(part, part.scores)
    best = int(np.argmax(left.f1))  # the first of equal ones, and scores fall
    return {
        "threshold": float(part.scores[best]),
        "precision": float(left.precision[best]),
        "recall": float(left.recall[best]),
        "f1": float(left.f1[best]),
    }


def _left(part: ScoreSteps, thresholds: Float64[np.ndarray, " Q"]) -> _Left:
    """Numbers at each threshold; quotients of integers, so equal ones are equal floats."""
    num_scores = np.searchsorted(-part.scores, -thresholds, side="right")
    kept = np.append(0, np.cumsum(part.num_detections))[num_scores]
    true = np.append(0, np.cumsum(part.num_true))[num_scores]
    boxes = np.full_like(kept, part.num_boxes)
    return _Left(
        precision=shares(true, kept),
        recall=shares(true, boxes),
        f1=shares(2 * true, (kept + boxes) * (boxes > 0)),
    )
