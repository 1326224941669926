"""Explains a score: what each block contributes, and the summary over all blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from fcos_core.metrics.bpr import BoxBlock, Rule, measure
from fcos_core.metrics.coco import (
    AP50_IOU,
    CocoMetrics,
    DetectedBoxes,
    Matches,
    PackedMatches,
    Settings,
    TrueBoxes,
    of_category,
)
from fcos_core.metrics.explain import (
    areas,
    calibration,
    confusion,
    curves,
    errors,
    gains,
    ladder,
    recall,
)
from fcos_core.metrics.explain import thresholds as score_thresholds
from jobs.annotations.json_columns import UNKNOWN_SIDE, Int64Array
from jobs.rundir.metrics_json import (
    AreaMetrics,
    Calibration,
    CalibrationBin,
    Confusion,
    Errors,
    Threshold,
)

_ERROR_NAMES = {
    "class": "cls",
    "localisation": "loc",
    "both": "both",
    "duplicate": "dupe",
    "background": "bkg",
    "missed": "miss",
}


_CONFUSION_TOTALS = (
    "iou", "least_score", "boxes", "correct", "confused", "missed", "background", "ignored",
)  # fmt: skip


@dataclass(frozen=True)
class BlockExplanation:
    """What a block contributes; contributions of blocks are added or joined."""

    errors: errors.BlockErrors
    confusion: confusion.Confusion
    calibration: calibration.Calibration
    boxes: ladder.LadderBoxes


@dataclass(frozen=True)
class Explanation:
    """The explanation of a score, as it is written.

    Attributes:
        summary: values by the keys of ``metrics.json``.
        per_category: further columns, by category id.
        per_area: rows over all categories, then of each, by size of the objects.
        confusion: cells of the confusion matrix that are not empty.
        curves: precision over recall: of all categories and of each, at two IoUs and on average.
    """

    summary: dict[str, Any]
    per_category: dict[int, dict[str, float | None]]
    per_area: list[AreaMetrics]
    confusion: list[dict[str, Any]]
    curves: dict[str, Any]


def explain_block(
    truth: TrueBoxes,
    found: DetectedBoxes,
    matches: Matches,
    *,
    category_ids: Int64Array,
    image_ids: Int64Array,
    image_sizes: Int64Array,
    rule: Rule | None,
    settings: Settings,
) -> BlockExplanation:
    """Explain the matches of some images.

    Category ids are rising, image sizes are width and height in pixels, 0 where unknown; the rule
    says which boxes are assignable in training, None leaves that open.
    """
    is_assignable = None if rule is None else _assignable(truth, image_ids, image_sizes, rule)
    return BlockExplanation(
        errors=errors.classify(truth, found, matches, category_ids, settings),
        confusion=confusion.tally(truth, found, matches, category_ids, settings),
        calibration=calibration.tally(matches, settings),
        boxes=ladder.ladder_boxes(
            truth, found, matches, category_ids, settings, is_assignable=is_assignable
        ),
    )


def explain(
    blocks: Sequence[BlockExplanation],
    matches: Sequence[PackedMatches],
    metrics: CocoMetrics,
    names: dict[int, str],
    settings: Settings,
) -> Explanation:
    """Join the explanations of all blocks, at least one; ``names`` is by rising category id."""
    category_ids = list(names)
    fixed: list[gains.CategoryGains] = []
    steps: list[score_thresholds.ScoreSteps] = []
    for k in range(len(category_ids)):
        own = of_category(matches, k)
        wrong = errors.of_category([block.errors for block in blocks], matches, k)
        fixed.append(gains.measure(own, wrong, settings))
        steps.append(score_thresholds.steps(own, settings))
    best = score_thresholds.describe(steps, category_ids)
    overall = best["overall"] and best["overall"]["best"]
    steps_of_blocks = [
        ladder.count_steps(
            block.boxes,
            len(category_ids),
            score_threshold=overall["threshold"] if overall else 0.0,
        )
        for block in blocks
    ]
    confused = reduce(add, [block.confusion for block in blocks])
    calibrated = reduce(add, [block.calibration for block in blocks])
    described = confused.describe(category_ids)
    num_boxes = np.sum([block.num_boxes for block in matches], axis=0)
    averages = {name: metrics.overall[name] for name in ("AR100", "AP")}
    return Explanation(
        summary={
            "errors": _errors(gains.describe(fixed, category_ids)),
            "confusions": _confusions(described, names),
            "confusion_totals": {name: described[name] for name in _CONFUSION_TOTALS},
            "calibration": _calibration(calibrated.describe(category_ids)),
            "thresholds": overall and _threshold(overall),
            "ladder": _ladder(
                ladder.describe(reduce(add, steps_of_blocks), list(names.values()), averages)
            ),
            "recall": recall.describe(metrics.curves, category_ids, settings)["overall"],
        },
        per_category={
            row["category_id"]: _best_columns(row["best"]) for row in best["per_category"]
        },
        per_area=_with_names(
            areas.describe(metrics.curves, num_boxes, category_ids, settings), names
        ),
        confusion=_with_conditions(confused, names),
        curves=curves.describe(metrics.curves, category_ids, settings),
    )


def _assignable(
    truth: TrueBoxes, image_ids: Int64Array, image_sizes: Int64Array, rule: Rule
) -> npt.NDArray[np.bool_]:
    """Which boxes training could recall; crowd regions take part in nothing.

    A box of an image of unknown size is taken for one: nobody has seen that image, which is why
    its boxes are lost on the next step.
    """
    by_id = np.argsort(image_ids)
    place = np.searchsorted(image_ids[by_id], truth.image_ids)
    is_sized = (image_sizes != UNKNOWN_SIDE).all(axis=1)[by_id][place]
    rows = np.flatnonzero(~truth.is_crowd & is_sized)
    rows = rows[np.argsort(place[rows], kind="stable")]
    block = BoxBlock(
        image_sizes=np.maximum(image_sizes[by_id], 1)[:, ::-1],
        image_index=place[rows],
        boxes=truth.boxes[rows],
        labels=truth.category_ids[rows],
    )
    is_assignable = ~is_sized
    is_assignable[rows] = measure(block, rule).is_recalled
    return is_assignable


def _ladder(found: dict[str, Any]) -> dict[str, Any]:
    # Without the step "assignable" there is nothing to cross it with.
    return {name: value for name, value in found.items() if value is not None}


def _errors(found: dict[str, Any]) -> Errors:
    return Errors(
        iou=found["foreground_iou"],
        shares={name: found["dap"][key] for name, key in _ERROR_NAMES.items()},
        counts={name: found["counts"][key] for name, key in _ERROR_NAMES.items()},
    )


def _with_names(rows: list[dict[str, Any]], names: dict[int, str]) -> list[AreaMetrics]:
    return [AreaMetrics(name=names.get(row["category_id"]), **row) for row in rows]


def _with_conditions(confused: confusion.Confusion, names: dict[int, str]) -> list[dict[str, Any]]:
    return [
        {
            "true_category_id": cell["true"],
            "true_name": names.get(cell["true"]),
            "predicted_category_id": cell["predicted"],
            "predicted_name": names.get(cell["predicted"]),
            "count": cell["count"],
            "iou": AP50_IOU,
            "least_score": confused.least_score,
        }
        for cell in confused.cells(list(names))
    ]


def _confusions(found: dict[str, Any], names: dict[int, str]) -> list[Confusion]:
    return [
        Confusion(
            true=names[pair["true"]],
            predicted=names[pair["predicted"]],
            count=pair["count"],
            share=pair["share"],
        )
        for pair in found["top"]
    ]


def _calibration(found: dict[str, Any]) -> Calibration:
    return Calibration(
        iou=found["iou"],
        ece=found["ece"],
        mce=found["mce"],
        bins=[
            CalibrationBin(
                low=row["from"],
                high=row["to"],
                count=row["detections"],
                mean_score=row["mean_score"],
                precision=row["precision"],
            )
            for row in found["bins"]
        ],
    )


def _threshold(best: dict[str, float]) -> Threshold:
    return Threshold(
        score=best["threshold"],
        precision=best["precision"],
        recall=best["recall"],
        f1=best["f1"],
    )


def _best_columns(best: dict[str, float] | None) -> dict[str, float | None]:
    names = {"best_threshold": "threshold", "best_f1": "f1"}
    names |= {"precision": "precision", "recall": "recall"}
    return {column: None if best is None else best[name] for column, name in names.items()}
