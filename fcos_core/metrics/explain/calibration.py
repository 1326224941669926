"""Whether scores are calibrated: of the detections with score 0.8, are 80 % right?

A detection is right if it finds a box by COCO's matching at IoU 0.5; detections that COCO ignores
are left out. ECE is the mean distance of score and precision, bin by bin, weighted by detections;
MCE the largest. Detections below the run's score threshold are missing from the counts.

Letters: ``D`` detections, ``K`` categories, ``S`` bins of the score.

Source: Naeini et al., AAAI 2015, for ECE and MCE; Kueppers et al., CVPRW 2020 (arXiv 2004.13546),
for precision in place of accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int64

from fcos_core.metrics.coco import AP50_IOU, Matches, Settings
from fcos_core.metrics.coco.summary import shares
from fcos_core.metrics.explain.outcomes import outcomes

NUM_BINS = 20
# Scores are added up as whole multiples of this, so that no order of blocks changes the sum.
_SCORE_UNIT = 2.0**-32
_EDGES = np.arange(NUM_BINS + 1) / NUM_BINS


@dataclass(frozen=True)
class Calibration:
    """Counts that add up, per category and bin; a bin has its lower end, the last one both.

    Args:
        num_detections: detections that count.
        num_true: those that find a box.
        score_units: sum of their scores in units of 2**-32.
        num_outside: detections whose score is not in 0..1; they are in no bin.
    """

    num_detections: Int64[np.ndarray, "K S"]
    num_true: Int64[np.ndarray, "K S"]
    score_units: Int64[np.ndarray, "K S"]
    num_outside: int

    def __add__(self, other: "Calibration") -> "Calibration":
        return Calibration(
            self.num_detections + other.num_detections,
            self.num_true + other.num_true,
            self.score_units + other.score_units,
            self.num_outside + other.num_outside,
        )

    def describe(self, category_ids: Sequence[int]) -> dict[str, Any]:
        """Describe the counts and their ratios for JSON, -1 where undefined."""
        bins = _Bins(*(c.sum(0) for c in (self.num_detections, self.num_true, self.score_units)))
        rows = zip(self.num_detections, self.num_true, self.score_units, strict=True)
        return {
            "iou": AP50_IOU,
            **bins.errors(),
            "outside": self.num_outside,
            "bins": bins.rows(),
            "per_category": [
                {"category_id": category_id, **_Bins(*row).errors()}
                for category_id, row in zip(category_ids, rows, strict=True)
            ],
        }


def tally(matches: Matches, settings: Settings) -> Calibration:
    """Count the detections of some images by score."""
    outcome = outcomes(matches, settings)
    is_inside = (matches.scores >= 0) & (matches.scores <= 1)
    counted = np.flatnonzero(~outcome.is_ignored & is_inside)
    scores = matches.scores[counted]
    bins = np.minimum(np.searchsorted(_EDGES, scores, side="right") - 1, NUM_BINS - 1)
    shape = (len(matches.num_boxes), NUM_BINS)
    cell = matches.category[counted] * NUM_BINS + bins
    size = shape[0] * shape[1]
    units = np.zeros(size, np.int64)
    np.add.at(units, cell, np.rint(scores / _SCORE_UNIT).astype(np.int64))
    return Calibration(
        num_detections=np.bincount(cell, minlength=size).reshape(shape),
        num_true=np.bincount(cell[outcome.is_true[counted]], minlength=size).reshape(shape),
        score_units=units.reshape(shape),
        num_outside=int((~outcome.is_ignored & ~is_inside).sum()),
    )


@dataclass(frozen=True)
class _Bins:
    """The counts of one category, or of all."""

    num_detections: Int64[np.ndarray, " S"]
    num_true: Int64[np.ndarray, " S"]
    score_units: Int64[np.ndarray, " S"]

    def errors(self) -> dict[str, Any]:
        total = int(self.num_detections.sum())
        gap = np.abs(self.num_true - self.score_units * _SCORE_UNIT)  # times detections
        return {
            "detections": total,
            "true": int(self.num_true.sum()),
            "mean_score": float(self.score_units.sum()) * _SCORE_UNIT / total if total else -1.0,
            "precision": int(self.num_true.sum()) / total if total else -1.0,
            "ece": float(gap.sum()) / total if total else -1.0,
            "mce": float(shares(gap, self.num_detections).max()),
        }

    def rows(self) -> list[dict[str, Any]]:
        columns = (
            pairwise(_EDGES.tolist()),
            self.num_detections.tolist(),
            self.num_true.tolist(),
            shares(self.score_units * _SCORE_UNIT, self.num_detections).tolist(),
            shares(self.num_true, self.num_detections).tolist(),
        )
        return [
            {
                "from": low,
                "to": high,
                "detections": detections,
                "true": true,
                "mean_score": mean_score,
                "precision": precision,
            }
            for (low, high), detections, true, mean_score, precision in zip(*columns, strict=True)
        ]
