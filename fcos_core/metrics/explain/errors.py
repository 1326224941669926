"""TIDE's errors: the error of each false positive, and the boxes that nothing comes near.

With ``own`` the largest IoU of a false positive with a box of its category in its image, and
``other`` the largest with a box of another category, the first that holds names the error:

=======  =======================  ====================================================
``LOC``  0.1 <= own < 0.5         the right category, badly placed
``CLS``  other >= 0.5             well placed, the wrong category
``DUPE`` own >= 0.5               the box is already found by a better detection
``BKG``  own, other <= 0.1        nothing is there
``BOTH`` what remains             badly placed and the wrong category
=======  =======================  ====================================================

A box is missed if it is not found and no ``LOC`` or ``CLS`` error has it as its nearest box.
Matching is COCO's: what it ignores is no error, an ignored box (a crowd) is none to find, and the
100 best detections per image and category count, not per image as in TIDE. An IoU of exactly 0.5
with a box of the own category is a duplicate, since COCO's matching would have taken that box.

Letters: ``D`` detections, ``B`` boxes to find, ``E`` pairs that overlap, ``K`` categories, ``R``
detections given to another category.

Source: TIDE, Bolya et al., ECCV 2020 (arXiv 2008.08115), section 2; the order is tidecv 1.0's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from fcos_core.metrics.coco import (
    AP50_IOU,
    NOTHING,
    DetectedBoxes,
    Matches,
    PackedMatches,
    Settings,
    TrueBoxes,
)
from fcos_core.metrics.coco.overlap import Overlaps
from fcos_core.metrics.coco.structures import UNKNOWN, category_indices
from fcos_core.metrics.counting import run_starts
from fcos_core.metrics.explain.outcomes import ANY_SIZE, Outcomes, outcomes
from fcos_core.metrics.explain.overlaps import is_ignored_box, overlapping

BACKGROUND_IOU = 0.1


class Verdict(IntEnum):
    """The outcome of a detection: right, ignored, or an error."""

    FOUND = 0
    IGNORED = 1
    CLS = 2
    LOC = 3
    BOTH = 4
    DUPE = 5
    BKG = 6


@dataclass(frozen=True)
class BlockErrors:
    """Errors of a block of images, two bytes per detection; to be kept beside its matches.

    Args:
        verdict: ``Verdict`` of each detection, in the order of ``Matches``.
        is_repaired: whether it would find a box if all ``LOC`` errors were placed well: it is the
            best of those with this nearest box, and the box is not found.
        relabelled: scores of detections that would find a box of another category if all ``CLS``
            errors had the right category: each the best of those with its nearest box.
        right_category: index of that other category.
        num_missed: boxes not found that are no ``LOC`` or ``CLS`` error's nearest box.
    """

    verdict: UInt8[np.ndarray, " D"]
    is_repaired: Bool[np.ndarray, " D"]
    relabelled: Float64[np.ndarray, " R"]
    right_category: Int64[np.ndarray, " R"]
    num_missed: Int64[np.ndarray, " K"]


@dataclass(frozen=True)
class CategoryErrors:
    """Errors of one category, detections in the order of its ``CategoryMatches``.

    Fields as in ``BlockErrors``; ``relabelled`` are the scores of the detections that belong here.
    """

    verdict: UInt8[np.ndarray, " D"]
    is_repaired: Bool[np.ndarray, " D"]
    relabelled: Float64[np.ndarray, " R"]
    num_missed: int


@dataclass(frozen=True)
class _Nearest:
    """The box each detection overlaps most, of equal ones the first given; else ``NOTHING``."""

    box: Int64[np.ndarray, " D"]
    iou: Float64[np.ndarray, " D"]


def classify(
    truth: TrueBoxes,
    detections: DetectedBoxes,
    matches: Matches,
    category_ids: Int64[np.ndarray, " K"],
    settings: Settings,
) -> BlockErrors:
    """Find the error of every false positive of some images.

    The IoU thresholds of ``settings`` must include 0.5.
    """
    outcome = outcomes(matches, settings)
    box_category = category_indices(truth.category_ids, category_ids)
    boxes = np.flatnonzero((box_category != UNKNOWN) & ~is_ignored_box(truth, settings))
    wrong = np.flatnonzero(~outcome.is_true & ~outcome.is_ignored)
    pairs = overlapping(detections, matches.rows[wrong], truth, boxes, BACKGROUND_IOU)
    pairs = Overlaps(wrong[pairs.detection], pairs.box, pairs.iou)
    is_own = box_category[pairs.box] == matches.category[pairs.detection]
    own = _nearest(pairs.chosen(is_own), len(matches.rows))
    other = _nearest(pairs.chosen(~is_own), len(matches.rows))

    verdict = _verdicts(outcome, own.iou, other.iou)
    is_open = np.zeros(len(truth), np.bool_)
    is_open[boxes] = True
    is_open[_found_boxes(matches, settings)] = False
    misplaced = _best_claims(verdict == Verdict.LOC, own.box, is_open, matches)
    misnamed = _best_claims(verdict == Verdict.CLS, other.box, is_open, matches)
    is_repaired = np.zeros(len(verdict), np.bool_)
    is_repaired[misplaced] = True
    is_open[own.box[misplaced]] = False
    is_open[other.box[misnamed]] = False

    return BlockErrors(
        verdict=verdict,
        is_repaired=is_repaired,
        relabelled=matches.scores[misnamed],
        right_category=box_category[other.box[misnamed]],
        num_missed=np.bincount(box_category[is_open], minlength=len(category_ids)),
    )


def of_category(
    errors: Sequence[BlockErrors], matches: Sequence[PackedMatches], category: int
) -> CategoryErrors:
    """Join the errors of one category, as ``coco.of_category`` joins its matches.

    The blocks have disjoint sets of images, in any order; at least one.
    """
    parts = [slice(*block.bounds[category : category + 2].tolist()) for block in matches]
    images = [block.image[part] for block, part in zip(matches, parts, strict=True)]
    by_image = np.argsort(np.concatenate(images), kind="stable")
    verdicts = [block.verdict[part] for block, part in zip(errors, parts, strict=True)]
    is_repaired = [block.is_repaired[part] for block, part in zip(errors, parts, strict=True)]
    return CategoryErrors(
        verdict=np.concatenate(verdicts)[by_image],
        is_repaired=np.concatenate(is_repaired)[by_image],
        relabelled=np.concatenate([e.relabelled[e.right_category == category] for e in errors]),
        num_missed=sum(int(block.num_missed[category]) for block in errors),
    )


def _nearest(pairs: Overlaps, num_detections: int) -> _Nearest:
    box = np.full(num_detections, NOTHING, np.int64)
    iou = np.zeros(num_detections)
    by_iou = np.lexsort((-pairs.iou, pairs.detection))
    best = pairs.chosen(by_iou[run_starts(pairs.detection)])
    box[best.detection] = best.box
    iou[best.detection] = best.iou
    return _Nearest(box, iou)


def _verdicts(
    outcome: Outcomes, own: Float64[np.ndarray, " D"], other: Float64[np.ndarray, " D"]
) -> UInt8[np.ndarray, " D"]:
    first_that_holds = {
        Verdict.FOUND: outcome.is_true,
        Verdict.IGNORED: outcome.is_ignored,
        Verdict.LOC: (own >= BACKGROUND_IOU) & (own < AP50_IOU),
        Verdict.CLS: other >= AP50_IOU,
        Verdict.DUPE: own >= AP50_IOU,
        Verdict.BKG: other <= BACKGROUND_IOU,
    }
    return np.select(
        list(first_that_holds.values()),
        [np.uint8(verdict) for verdict in first_that_holds],
        np.uint8(Verdict.BOTH),
    )


def _found_boxes(matches: Matches, settings: Settings) -> Int64[np.ndarray, " N"]:
    found = matches.found[:, settings.iou_thresholds.index(AP50_IOU), ANY_SIZE]
    return found[found != NOTHING]


def _best_claims(
    is_error: Bool[np.ndarray, " D"],
    box: Int64[np.ndarray, " D"],
    is_open: Bool[np.ndarray, " G"],
    matches: Matches,
) -> Int64[np.ndarray, " N"]:
    """The error with the best score for each box not found; of equal scores, the first given."""
    claims = np.flatnonzero(is_error)
    claims = claims[is_open[box[claims]]]
    claims = claims[np.lexsort((matches.rows[claims], -matches.scores[claims], box[claims]))]
    return claims[run_starts(box[claims])]
