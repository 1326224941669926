"""Which detection finds which ground-truth box: COCO's greedy matching, all pairs at once.

pycocotools loops over images, categories, area ranges, IoU thresholds, detections and boxes. Here
only pairs that overlap by the lowest threshold are compared, and the r-th such detection of every
image and category is matched in one step, for all thresholds and area ranges. Every comparison is
pycocotools' own, in float64, so the outcome is the same bit for bit.

Letters: ``G`` ground-truth boxes, ``D`` detections that count, ``K`` categories, ``E`` pairs that
overlap, ``H`` detections with such a pair, ``T`` IoU thresholds, ``A`` area ranges.

Source: ``cocoeval.py`` of pycocotools 2.0.11.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from fcos_core.metrics.coco.overlap import Overlaps, Sides, intersecting
from fcos_core.metrics.coco.structures import (
    UNKNOWN,
    DetectedBoxes,
    Settings,
    TrueBoxes,
    category_indices,
)
from fcos_core.metrics.counting import by_key, count_up_in_parts, ranks_within, run_starts

NOTHING = -1
# Pairs of a detection and a box per step: bounds the memory.
_PAIRS_AT_ONCE = 1_000_000
# pycocotools asks for no more than this, even where a threshold is 1.
_LARGEST_THRESHOLD = 1 - 1e-10


@dataclass(frozen=True)
class Matches:
    """The outcomes of the detections of some images, and the number of boxes to find.

    Detections are sorted by category, image and falling score; those beyond the largest number of
    detections per image and category are left out.

    Args:
        rows: index of each detection in the input.
        category: index of its category.
        image: index of its image among all image ids.
        rank: its rank among the detections of its image and category, from 0.
        scores: its score.
        is_outside: whether its own area is outside of each range.
        hits: detections that overlap a box by the lowest threshold: indices into ``rows``, rising.
        found: row of the ground-truth box that each of these finds, or ``NOTHING``.
        is_ignored: whether each of these counts for nothing, having found a box that counts for
            nothing, or none while its own area is outside of the range.
        num_boxes: boxes to find.
    """

    rows: Int64[np.ndarray, " D"]
    category: Int64[np.ndarray, " D"]
    image: Int64[np.ndarray, " D"]
    rank: Int64[np.ndarray, " D"]
    scores: Float64[np.ndarray, " D"]
    is_outside: Bool[np.ndarray, "D A"]
    hits: Int64[np.ndarray, " H"]
    found: Int64[np.ndarray, "H T A"]
    is_ignored: Bool[np.ndarray, "H T A"]
    num_boxes: Int64[np.ndarray, "K A"]


@dataclass(frozen=True)
class _Sorted:
    """Rows sorted by ``key``, which is category index times number of images plus image index."""

    rows: Int64[np.ndarray, " N"]
    key: Int64[np.ndarray, " N"]


def match(
    truth: TrueBoxes,
    detections: DetectedBoxes,
    category_ids: Int64[np.ndarray, " K"],
    settings: Settings,
    *,
    image_ids: Int64[np.ndarray, " I"] | None = None,
) -> Matches:
    """Match the detections of some images.

    Args:
        truth: ground truth of these images.
        detections: of these images, in the order that decides between equal scores.
        category_ids: rising; rows of other categories are ignored.
        settings: thresholds and ranges.
        image_ids: ids of the whole dataset, rising; by default those of these images.
    """
    if image_ids is None:
        image_ids = np.union1d(truth.image_ids, detections.image_ids)
    no_order = np.zeros(len(truth))
    true = _sort(truth.image_ids, truth.category_ids, no_order, image_ids, category_ids)
    own = _sort(
        detections.image_ids,
        detections.category_ids,
        -detections.scores,
        image_ids,
        category_ids,
    )
    rank = ranks_within(own.key)
    counts = rank < max(settings.max_detections)
    own, rank = _Sorted(own.rows[counts], own.key[counts]), rank[counts]

    is_crowd = truth.is_crowd[true.rows]
    # pycocotools ignores a box that is a crowd, or whose area is outside of the range.
    is_ignored_box = is_crowd[:, None] | settings.is_outside(truth.areas[true.rows])
    boxes = detections.boxes[own.rows]
    is_outside = settings.is_outside(boxes[:, 2] * boxes[:, 3])

    pairs = _overlapping(boxes, own.key, truth.boxes[true.rows], is_crowd, true.key, settings)
    hits = pairs.detection[run_starts(pairs.detection)]
    found = _find(pairs, own.key[hits], is_crowd, is_ignored_box, settings)
    num_images = max(1, len(image_ids))
    num_boxes = np.zeros((len(category_ids), len(settings.area_ranges)), np.int64)
    np.add.at(num_boxes, true.key // num_images, ~is_ignored_box)
    return Matches(
        rows=own.rows,
        category=own.key // num_images,
        image=own.key % num_images,
        rank=rank,
        scores=detections.scores[own.rows],
        is_outside=is_outside,
        hits=hits,
        found=_rows_of(found, true.rows),
        is_ignored=_is_ignored(found, is_ignored_box, is_outside[hits]),
        num_boxes=num_boxes,
    )


def _sort(
    image_ids: Int64[np.ndarray, " N"],
    row_categories: Int64[np.ndarray, " N"],
    order: Float64[np.ndarray, " N"],
    known_images: Int64[np.ndarray, " I"],
    category_ids: Int64[np.ndarray, " K"],
) -> _Sorted:
    """Rows of known categories by category, image and ``order``; the sort is stable."""
    category = category_indices(row_categories, category_ids)
    rows = np.flatnonzero(category != UNKNOWN)
    key = category[rows] * len(known_images) + np.searchsorted(known_images, image_ids[rows])
    by_key = np.lexsort((order[rows], key))
    return _Sorted(rows[by_key], key[by_key])


def _overlapping(
    boxes: Float64[np.ndarray, "D 4"],
    key: Int64[np.ndarray, " D"],
    true_boxes: Float64[np.ndarray, "G 4"],
    is_crowd: Bool[np.ndarray, " G"],
    true_key: Int64[np.ndarray, " G"],
    settings: Settings,
) -> Overlaps:
    """All pairs that overlap by the lowest threshold."""
    first = np.searchsorted(true_key, key)
    count = np.searchsorted(true_key, key, side="right") - first
    least = min(*settings.iou_thresholds, _LARGEST_THRESHOLD)
    found, true = Sides.of(boxes), Sides.of(true_boxes)
    parts: list[Overlaps] = []
    for detection, box in count_up_in_parts(first, count, _PAIRS_AT_ONCE):
        which, intersecting_iou = intersecting(found, true, is_crowd, detection, box)
        iou = np.zeros(len(detection))
        iou[which] = intersecting_iou
        kept = np.flatnonzero(iou >= least)
        parts.append(Overlaps(detection[kept], box[kept], iou[kept]))
    return Overlaps.joined(parts)


def _find(
    pairs: Overlaps,
    hit_key: Int64[np.ndarray, " H"],
    is_crowd: Bool[np.ndarray, " G"],
    is_ignored_box: Bool[np.ndarray, "G A"],
    settings: Settings,
) -> Int64[np.ndarray, "H T A"]:
    """The box each detection finds; detections of equal rank are matched together."""
    thresholds = np.minimum(settings.iou_thresholds, _LARGEST_THRESHOLD)
    shape = (len(thresholds), is_ignored_box.shape[1])
    found = np.full((len(hit_key), *shape), NOTHING, np.int64)
    is_free = np.ones((len(is_crowd), *shape), np.bool_)
    starts = run_starts(pairs.detection)
    hit = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(pairs.detection))))
    turn = ranks_within(hit_key)[hit]
    for chosen in by_key(turn):
        box, own_hit = pairs.box[chosen], hit[chosen]
        best = _best_of_each(
            pairs.iou[chosen],
            thresholds,
            is_free[box] | is_crowd[box][:, None, None],
            is_ignored_box[box],
            run_starts(own_hit),
        )
        finds = np.where(best == NOTHING, NOTHING, box[best])
        found[own_hit[run_starts(own_hit)]] = finds
        _, threshold, area = taken = np.nonzero(best != NOTHING)
        is_free[finds[taken], threshold, area] = False
    return found


def _best_of_each(
    iou: Float64[np.ndarray, " E"],
    thresholds: Float64[np.ndarray, " T"],
    is_open: Bool[np.ndarray, "E T A"],
    is_ignored_box: Bool[np.ndarray, "E A"],
    starts: Int64[np.ndarray, " H"],
) -> Int64[np.ndarray, "H T A"]:
    """The pair each detection takes: a box that counts if any is possible, else an ignored one.

    The largest IoU, and of equal ones the last.
    """
    may = is_open & (iou[:, None] >= thresholds)[..., None]
    counts = ~is_ignored_box[:, None]
    best = _last_largest(iou, may & counts, starts)
    return np.where(best == NOTHING, _last_largest(iou, may & ~counts, starts), best)


def _last_largest(
    iou: Float64[np.ndarray, " E"],
    may: Bool[np.ndarray, "E T A"],
    starts: Int64[np.ndarray, " H"],
) -> Int64[np.ndarray, "H T A"]:
    value = np.where(may, iou[:, None, None], -1.0)
    largest = np.maximum.reduceat(value, starts, axis=0)
    lengths = np.diff(np.append(starts, len(iou)))
    is_largest = may & (value == np.repeat(largest, lengths, axis=0))
    place = np.where(is_largest, np.arange(len(iou))[:, None, None], NOTHING)
    return np.maximum.reduceat(place, starts, axis=0)


def _is_ignored(
    found: Int64[np.ndarray, "H T A"],
    is_ignored_box: Bool[np.ndarray, "G A"],
    is_outside: Bool[np.ndarray, "H A"],
) -> Bool[np.ndarray, "H T A"]:
    if not len(is_ignored_box):
        return np.zeros(found.shape, np.bool_)
    of_found = is_ignored_box[found, np.arange(is_ignored_box.shape[1])]
    return np.where(found == NOTHING, is_outside[:, None], of_found)


def _rows_of(
    found: Int64[np.ndarray, "H T A"], rows: Int64[np.ndarray, " G"]
) -> Int64[np.ndarray, "H T A"]:
    return np.where(found == NOTHING, NOTHING, rows[found]) if len(rows) else found
