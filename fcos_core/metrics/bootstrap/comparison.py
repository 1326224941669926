"""Two runs on the same images: which differences would stay with other images, and where they are.

Both runs are resampled with the same images, so what is hard or easy about an image cancels out of
the difference, and its interval is narrower than those of the runs suggest. Differences are always
the second run's number minus the first's: positive is better.

The errors of an image are boxes that nothing finds plus detections that find nothing, by COCO's
greedy matching at IoU 0.5, area "all", among detections whose score is a threshold or more. The
matching goes by falling score, so worse detections do not change it. Crowds, and detections that
find one, are no errors.

Letters: ``I`` images, ``N`` resamples, ``V`` values: the twelve numbers, then AP of each category.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.bootstrap.intervals import (
    CONFIDENCE,
    Intervals,
    bias_of,
    named_values,
    percentile_intervals,
    undefined_as_nan,
)
from fcos_core.metrics.bootstrap.ranking import BoxesToFind
from fcos_core.metrics.coco import CategoryMatches, Settings
from fcos_core.metrics.explain.outcomes import outcomes

NUM_CHANGED = 20
_COUNTS = ("errors", "found", "false", "f1")


@dataclass(frozen=True)
class Differences:
    """The second run's values minus the first's; NaN where undefined.

    ``same_sign`` is the share of the resamples, moved by their bias like the interval, whose
    difference has the sign of the observed one; NaN where that is 0.
    """

    observed: Float64[np.ndarray, " V"]
    intervals: Intervals
    same_sign: Float64[np.ndarray, " V"]


def compare(
    observed: tuple[Float64[np.ndarray, " V"], Float64[np.ndarray, " V"]],
    resampled: tuple[Float64[np.ndarray, "N V"], Float64[np.ndarray, "N V"]],
    confidence: float = CONFIDENCE,
) -> Differences:
    """Compare two runs pair by pair of resamples.

    Args:
        observed: values of the dataset under the first and the second run; -1 where undefined.
        resampled: values under the same resamples (one seed, one number of images).
        confidence: share of the resamples that an interval holds.
    """
    first, second = (undefined_as_nan(values) for values in observed)
    first_resampled, second_resampled = (undefined_as_nan(values) for values in resampled)
    differences, in_resamples = second - first, second_resampled - first_resampled
    intervals = percentile_intervals(differences, in_resamples, confidence)
    moved = in_resamples - bias_of(differences, in_resamples)
    num_same = (np.sign(moved) == np.sign(differences)).sum(axis=0)
    is_told = (differences != 0) & ~np.isnan(intervals.bias)
    same_sign = np.full(len(differences), np.nan)
    same_sign[is_told] = num_same[is_told] / intervals.num_defined[is_told]
    return Differences(differences, intervals, same_sign)


@dataclass(frozen=True)
class ImageErrors:
    """Boxes to find, found boxes and false positives of each image at a score threshold."""

    boxes: Int64[np.ndarray, " I"]
    found: Int64[np.ndarray, " I"]
    false: Int64[np.ndarray, " I"]

    @property
    def errors(self) -> Int64[np.ndarray, " I"]:
        """Boxes that nothing finds, and detections that find nothing."""
        return self.boxes - self.found + self.false

    @property
    def f1(self) -> Float64[np.ndarray, " I"]:
        """Twice the found boxes as a share of all boxes and detections; 1 where there are none."""
        total = self.boxes + self.found + self.false
        return np.divide(2 * self.found, total, out=np.ones(len(total)), where=total > 0)


def count_errors(
    matches: Iterable[CategoryMatches],
    to_find: BoxesToFind,
    num_images: int,
    settings: Settings,
    *,
    score_threshold: float,
) -> ImageErrors:
    """Count the errors of a run on every image, among detections with ``score_threshold`` or more.

    The IoU thresholds of ``settings`` include 0.5; the matches of the categories are read one at a
    time.
    """
    is_any_area = to_find.key % len(settings.area_ranges) == 0
    found, false = np.zeros((2, num_images), np.int64)
    for of_category in matches:
        outcome = outcomes(of_category, settings)
        counts = ~outcome.is_ignored & (of_category.scores >= score_threshold)
        found += np.bincount(of_category.image[counts & outcome.is_true], minlength=num_images)
        false += np.bincount(of_category.image[counts & ~outcome.is_true], minlength=num_images)
    return ImageErrors(np.bincount(to_find.image[is_any_area], minlength=num_images), found, false)


def most_changed(
    first: ImageErrors, second: ImageErrors, number: int = NUM_CHANGED
) -> tuple[Int64[np.ndarray, " X"], Int64[np.ndarray, " Y"]]:
    """Find at most ``number`` images each way on which two runs differ most.

    Returns:
        Indices of images on which the second run makes fewer errors, and of those on which it makes
        more; the largest change first, of equal ones the larger change of F1, then the earlier.
    """
    gained = first.errors - second.errors
    gained_f1 = second.f1 - first.f1
    # np.lexsort is stable and takes its most important key last.
    better = np.lexsort((-gained_f1, -gained))[:number]
    worse = np.lexsort((gained_f1, gained))[:number]
    return better[gained[better] > 0], worse[gained[worse] < 0]


def describe(
    differences: Differences,
    resamples: int,
    category_ids: Sequence[int],
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Describe differences for JSON.

    Returns:
        ``overall`` by ``METRIC_NAMES``, ``per_category`` AP by id; null where undefined.
    """
    of_values = differences.intervals
    names = ("difference", "low", "high", "bias", "same_sign")
    columns = (
        differences.observed,
        of_values.low,
        of_values.high,
        of_values.bias,
        differences.same_sign,
    )
    rows = [
        {name: None if isnan(value) else value for name, value in zip(names, row, strict=True)}
        for row in np.stack(columns, axis=1).tolist()
    ]
    return {
        "confidence": confidence,
        "resamples": resamples,
        **named_values(rows, category_ids),
    }


def describe_changed(
    first: ImageErrors,
    second: ImageErrors,
    image_ids: Int64[np.ndarray, " I"],
    number: int = NUM_CHANGED,
) -> dict[str, list[dict[str, Any]]]:
    """Describe the images that changed most for JSON.

    Returns:
        ``better`` and ``worse`` images in the order of :func:`most_changed`: counts under both
        runs, the first's first.
    """

    def rows(images: Int64[np.ndarray, " X"]) -> list[dict[str, Any]]:
        runs = [ImageErrors(r.boxes[images], r.found[images], r.false[images]) for r in both]
        return [
            {
                "image_id": image_id,
                "boxes": num_boxes,
                **{name: [getattr(run, name)[i].item() for run in runs] for name in _COUNTS},
            }
            for i, (image_id, num_boxes) in enumerate(
                zip(image_ids[images].tolist(), first.boxes[images].tolist(), strict=True)
            )
        ]

    both = (first, second)
    better, worse = most_changed(first, second, number)
    return {"better": rows(better), "worse": rows(worse)}
