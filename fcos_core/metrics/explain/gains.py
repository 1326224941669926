"""The cost of each of TIDE's errors: the AP50 that correcting it alone would gain (dAP).

An oracle corrects all errors of one kind:

========  =============================================================================
``CLS``   gives each error the category of its nearest box: a true positive there
``LOC``   places each error on its nearest box: a true positive
``BOTH``  removes the detections; so do ``DUPE`` and ``BKG``
``MISS``  lowers the number of boxes to find by those missed
========  =============================================================================

Of several errors with one nearest box all but the best are removed, and all are whose nearest box
is already found, even by a worse detection. Two further oracles: ``FALSE_POSITIVE`` removes all
errors, ``FALSE_NEGATIVE`` lowers the boxes to find to those found. dAP do not add up to what is
missing from 1, since each is measured alone.

Differences from tidecv 1.0: the best error is the best of its own kind, as in the paper. The mean
is over the categories with a box to find, as in COCO, where tidecv counts those that are merely
detected as 0; one that an oracle leaves without a box keeps an AP of 0 and stays, so that the dAP
over all categories is the mean of theirs. A detection given to another category ranks behind that
category's own of equal score. Precision and its mean are COCO's, bit for bit.

Letters: ``D`` detections of one category, ``N`` those one oracle leaves, ``O`` oracles, ``R``
recall thresholds, ``V`` verdicts.

Source: TIDE, Bolya et al., ECCV 2020 (arXiv 2008.08115), section 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from fcos_core.metrics.coco import AP50_IOU, CategoryMatches, Settings
from fcos_core.metrics.coco.accumulation import UNDEFINED, precision_at
from fcos_core.metrics.explain.errors import BACKGROUND_IOU, CategoryErrors, Verdict
from fcos_core.metrics.explain.outcomes import ANY_SIZE


class Oracle(IntEnum):
    """The errors that are corrected."""

    NONE = 0
    CLS = 1
    LOC = 2
    BOTH = 3
    DUPE = 4
    BKG = 5
    MISS = 6
    FALSE_POSITIVE = 7
    FALSE_NEGATIVE = 8


MAIN_ERRORS = (Oracle.CLS, Oracle.LOC, Oracle.BOTH, Oracle.DUPE, Oracle.BKG, Oracle.MISS)
SPECIAL_ERRORS = (Oracle.FALSE_POSITIVE, Oracle.FALSE_NEGATIVE)


@dataclass(frozen=True)
class CategoryGains:
    """One category under each oracle.

    Args:
        num_boxes: boxes to find.
        num_missed: missed boxes.
        verdicts: detections by ``Verdict``.
        precision: by ``Oracle`` at COCO's recalls, at IoU 0.5; ``UNDEFINED`` without boxes.
    """

    num_boxes: int
    num_missed: int
    verdicts: Int64[np.ndarray, " V"]
    precision: Float64[np.ndarray, "O R"]


def measure(matches: CategoryMatches, errors: CategoryErrors, settings: Settings) -> CategoryGains:
    """Correct the errors of one category, all images, kind by kind."""
    num_boxes = int(matches.num_boxes[ANY_SIZE])
    recalls = np.array(settings.recall_thresholds)
    precision = np.full((len(Oracle), len(recalls)), UNDEFINED)
    verdicts = np.bincount(errors.verdict, minlength=len(Verdict))
    if num_boxes:
        ranked = _rank(matches, errors)
        to_find = dict.fromkeys(Oracle, num_boxes)
        to_find[Oracle.MISS] = num_boxes - errors.num_missed
        to_find[Oracle.FALSE_NEGATIVE] = int(verdicts[Verdict.FOUND])
        for oracle in Oracle:
            is_true = _mended(ranked, oracle)
            precision[oracle] = _precision(recalls, is_true, to_find[oracle])
    return CategoryGains(num_boxes, errors.num_missed, verdicts, precision)


def _precision(
    recalls: Float64[np.ndarray, " R"], is_true: Bool[np.ndarray, " N"], num_boxes: int
) -> Float64[np.ndarray, " R"]:
    """Precision at recalls of detections by falling score; zeros where there is no box to find."""
    place = np.flatnonzero(is_true)
    return precision_at(recalls, np.arange(1, len(place) + 1), place + 1, max(1, num_boxes))[0]


def describe(gains: Sequence[CategoryGains], category_ids: Sequence[int]) -> dict[str, Any]:
    """Describe counts, AP50 and dAP for JSON: floats in 0..1, -1 where undefined."""
    return {
        "foreground_iou": AP50_IOU,
        "background_iou": BACKGROUND_IOU,
        **_describe(gains),
        "per_category": [
            {"category_id": category_id, **_describe([own])}
            for category_id, own in zip(category_ids, gains, strict=True)
        ],
    }


def _describe(gains: Sequence[CategoryGains]) -> dict[str, Any]:
    verdicts = sum((own.verdicts for own in gains), np.zeros(len(Verdict), np.int64))
    plain = _mean_precision(gains, Oracle.NONE)

    def regained(oracles: Sequence[Oracle]) -> dict[str, float]:
        return {
            oracle.name.lower(): UNDEFINED
            if plain == UNDEFINED
            else _mean_precision(gains, oracle) - plain
            for oracle in oracles
        }

    return {
        "boxes": sum(own.num_boxes for own in gains),
        "counts": {
            **{verdict.name.lower(): int(verdicts[verdict]) for verdict in Verdict},
            "miss": sum(own.num_missed for own in gains),
        },
        "ap50": plain,
        "dap": regained(MAIN_ERRORS),
        "dap_special": regained(SPECIAL_ERRORS),
    }


def _mean_precision(gains: Sequence[CategoryGains], oracle: Oracle) -> float:
    """AP: the mean over recalls and the categories with boxes to find, summed in COCO's order."""
    rows = [own.precision[oracle] for own in gains if own.num_boxes]
    return float(np.mean(np.stack(rows, axis=1).ravel())) if rows else UNDEFINED


@dataclass(frozen=True)
class _Ranked:
    """A category's detections by falling score, with those that the ``CLS`` oracle gives to it.

    ``is_repaired``: the ``LOC`` oracle makes it find a box; ``is_given``: it is another category's.
    """

    verdict: Int64[np.ndarray, " D"]
    is_repaired: Bool[np.ndarray, " D"]
    is_given: Bool[np.ndarray, " D"]


def _rank(matches: CategoryMatches, errors: CategoryErrors) -> _Ranked:
    num_own, num_given = len(matches.scores), len(errors.relabelled)
    # Stable: equal scores stay image by image as in COCO, those given behind them.
    order = np.argsort(-np.concatenate([matches.scores, errors.relabelled]), kind="stable")
    given = np.full(num_given, Verdict.CLS)
    return _Ranked(
        verdict=np.concatenate([errors.verdict.astype(np.int64), given])[order],
        is_repaired=np.concatenate([errors.is_repaired, np.zeros(num_given, np.bool_)])[order],
        is_given=(order >= num_own),
    )


def _mended(ranked: _Ranked, oracle: Oracle) -> Bool[np.ndarray, " N"]:
    """Whether each detection that an oracle keeps finds a box."""
    is_true = ranked.verdict == Verdict.FOUND
    stays = ~ranked.is_given & (ranked.verdict != Verdict.IGNORED)
    match oracle:
        case Oracle.NONE | Oracle.MISS | Oracle.FALSE_NEGATIVE:
            pass
        case Oracle.CLS:
            is_true |= ranked.is_given
            stays = is_true | (stays & (ranked.verdict != Verdict.CLS))
        case Oracle.LOC:
            is_true |= ranked.is_repaired
            stays &= is_true | (ranked.verdict != Verdict.LOC)
        case Oracle.BOTH | Oracle.DUPE | Oracle.BKG:
            stays &= ranked.verdict != Verdict[oracle.name]
        case Oracle.FALSE_POSITIVE:
            stays = is_true
    return is_true[stays]
