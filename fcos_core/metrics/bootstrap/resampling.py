"""How much COCO's numbers would vary with other images: the bootstrap over images.

A resample draws as many images as there are, with replacement; an image's weight is the number of
times it is drawn. The numbers under weights are, bit for bit, those of a dataset that holds each
image that many times under consecutive ids, as long as no two detections of one image and category
have the same score. Of such ties, all copies of the first rank ahead of all copies of the second,
while in the copied dataset they take turns. Ties between images stay in the order of the images.

Letters: ``I`` images, ``V`` values: the twelve numbers, then AP of each category; ``N`` resamples,
``K A T R M`` as in COCO's curves, ``L`` and ``P`` as in ``ranking.py``.

Source: Efron, Bootstrap Methods: Another Look at the Jackknife (1979).
"""

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.bootstrap.ranking import Rankings
from fcos_core.metrics.coco import METRIC_NAMES, Curves, summarize
from fcos_core.metrics.coco.accumulation import UNDEFINED


def image_weights(num_images: int, seed: int, index: int) -> Int64[np.ndarray, " I"]:
    """Draw one resample: how often each image occurs in it; a function of the arguments alone.

    ``index`` is the number of the resample among those of ``seed``.
    """
    # What SeedSequence(seed).spawn() gives its index-th child, without the others.
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    return np.bincount(stream.integers(num_images, size=num_images), minlength=num_images)


def resample(rankings: Rankings, seed: int, first: int, last: int) -> Float64[np.ndarray, "N V"]:
    """Compute the numbers of resamples ``first`` up to ``last``, ``last`` excluded."""
    values = [
        weighted_numbers(rankings, image_weights(rankings.num_images, seed, index))
        for index in range(first, last)
    ]
    return np.array(values).reshape(-1, len(METRIC_NAMES) + rankings.num_categories)


def weighted_numbers(
    rankings: Rankings, weights: Int64[np.ndarray, " I"]
) -> Float64[np.ndarray, " V"]:
    """Compute the numbers as if each image occurred as often as its weight, 0 or more.

    Returns:
        The numbers by ``METRIC_NAMES``, then AP by category; -1 where nothing is to be found.
    """
    settings = rankings.settings
    if not rankings.num_categories:
        return np.full(len(METRIC_NAMES), UNDEFINED)
    curves = _curves(rankings, np.append(weights, 0))
    overall = summarize(curves, settings)
    # Rows of their own, so that each mean adds up as summarize() does for one category.
    per_category = np.ascontiguousarray(np.moveaxis(curves.precision[..., 0, -1], 2, 0))
    means = per_category.reshape(rankings.num_categories, -1).mean(axis=1)
    return np.concatenate([list(overall.values()), means])


def _curves(rankings: Rankings, weights: Int64[np.ndarray, " I1"]) -> Curves:
    """COCO's curves; precision under the lower detection limits is left undefined."""
    settings = rankings.settings
    t, a, m = len(settings.iou_thresholds), len(settings.area_ranges), len(settings.max_detections)
    r, k = len(settings.recall_thresholds), rankings.num_categories
    key, image = rankings.to_find.key, rankings.to_find.image
    num_boxes = np.bincount(key, weights[image], minlength=k * a).astype(np.int64).reshape(k, a)
    is_defined = num_boxes > 0
    num_boxes = np.maximum(num_boxes, 1)

    weight = weights[rankings.true]
    best = _best_precision(rankings, weights, weight, num_boxes).reshape(k, a, t, r)
    precision = np.full((m, a, t, r, k), UNDEFINED)
    precision[-1] = np.where(is_defined[..., None, None], best, UNDEFINED).transpose(1, 2, 3, 0)
    recall = np.empty((m, k, a, t))
    for limit, of_limit in zip(settings.max_detections, recall, strict=True):
        within = weight * (rankings.true_rank < limit)
        num_true = np.add.reduceat(within, rankings.true_starts).reshape(k, a, t)
        of_limit[:] = np.where(is_defined[..., None], num_true / num_boxes[..., None], UNDEFINED)
    precision = precision.transpose(2, 3, 4, 1, 0)
    return Curves(
        precision, recall.transpose(3, 1, 2, 0), np.broadcast_to(UNDEFINED, precision.shape)
    )


def _best_precision(
    rankings: Rankings,
    weights: Int64[np.ndarray, " I1"],
    weight: Int64[np.ndarray, " P"],
    num_boxes: Int64[np.ndarray, "K A"],
) -> Float64[np.ndarray, "L R"]:
    """The best precision of each ranking at each recall or beyond; 0 where it is not reached.

    A detection that occurs several times counts behind its last copy only: between copies
    precision rises, and where recall is reached by an earlier copy, the best is behind the last.
    """
    starts = rankings.true_starts
    lengths = np.diff(starts, append=len(weight))
    ends = starts + lengths - 1
    true = _cumulative(weight)
    counted = _cumulative(weights[rankings.counted])
    corrected = _cumulative(weights[rankings.corrected] * rankings.correction)

    num_thresholds = len(rankings.settings.iou_thresholds)
    counted_before = np.repeat(counted[rankings.counted_starts], num_thresholds)
    counted_before += corrected[rankings.corrected_starts]
    num_counted = counted[rankings.counted_until] + corrected[rankings.corrected_until]
    num_counted -= np.repeat(counted_before, lengths)
    num_true = true[1:] - np.repeat(true[starts], lengths)
    precision = num_true / (num_counted + np.spacing(1))
    precision[ends] = 0.0

    needed = _least_true(num_boxes, np.array(rankings.settings.recall_thresholds))
    needed = np.repeat(needed.reshape(-1, needed.shape[-1]), num_thresholds, axis=0)
    reached = np.searchsorted(true[1:], true[starts][:, None] + needed)
    reached = np.clip(reached, starts[:, None], ends[:, None])
    # The best between one recall and the next, the ranking's end being the last; then from behind.
    bounds = np.concatenate([reached, ends[:, None]], axis=1)
    best = np.maximum.reduceat(precision, bounds.ravel()).reshape(bounds.shape)[:, :-1]
    return np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]


def _least_true(
    num_boxes: Int64[np.ndarray, "K A"], recalls: Float64[np.ndarray, " R"]
) -> Int64[np.ndarray, "K A R"]:
    """The least number of true positives whose quotient with ``num_boxes`` is the recall or more.

    The quotient is rounded, so the product's neighbours are tried.
    """
    boxes = num_boxes[..., None]
    least = np.ceil(recalls * boxes) + 1
    for _ in range(2):
        least -= (least - 1) / boxes >= recalls
    return np.maximum(least, 0).astype(np.int64)


def _cumulative(values: Int64[np.ndarray, " P"]) -> Int64[np.ndarray, " P1"]:
    """Sums up to each place; the first is 0."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums
