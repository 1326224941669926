"""Two runs side by side: pairs of resamples by hand, errors of images in slow loops."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.bootstrap.comparison import (
    ImageErrors,
    compare,
    count_errors,
    describe,
    describe_changed,
    most_changed,
)
from fcos_core.metrics.bootstrap.ranking import boxes_to_find, rank
from fcos_core.metrics.bootstrap.resampling import resample, weighted_numbers
from fcos_core.metrics.coco import METRIC_NAMES, DetectedBoxes, Settings, by_category, match
from tests.fcos_core.metrics.explain.test_ladder import (
    detected_boxes,
    random_rows,
    slow_iou,
    slow_match,
    true_boxes,
)

CATEGORY_IDS = np.array([2, 5, 9])
FEW_THRESHOLDS = Settings(iou_thresholds=(0.5, 0.75))


def matches_and_boxes(truth, detections, image_ids):
    matches = match(truth, detections, CATEGORY_IDS, FEW_THRESHOLDS, image_ids=image_ids)
    return by_category(matches), boxes_to_find(truth, image_ids, CATEGORY_IDS, FEW_THRESHOLDS)


def slow_errors(truth, found, num_images, score_threshold):
    """Boxes, found boxes and false detections of images 1.. one detection at a time."""
    finder = slow_match(truth, found, limit=100)
    counts = np.zeros((3, num_images), np.int64)
    for g, (image, category, _, _, is_crowd) in enumerate(truth):
        if not is_crowd and category in CATEGORY_IDS:
            counts[0, image - 1] += 1
            counts[1, image - 1] += g in finder and found[finder[g]][3] >= score_threshold
    for d, (image, category, box, score) in enumerate(found):
        in_crowd = any(
            row[:2] == (image, category) and row[4] and slow_share(box, row[2]) >= 0.5
            for row in truth
        )
        is_false = d not in finder.values() and not in_crowd and category in CATEGORY_IDS
        counts[2, image - 1] += is_false and score >= score_threshold
    return counts


def slow_share(box, crowd):
    """The share of a detection that lies in a crowd, which COCO takes for their IoU."""
    iou = slow_iou(box, crowd)
    union = (box[2] * box[3] + crowd[2] * crowd[3]) / (1 + iou)
    return iou * union / (box[2] * box[3])


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 6),
    score_threshold=st.sampled_from([0.0, 0.5, 0.6, 2.0]),
)
def test_errors_of_every_image_equal_the_slow_reading(seed, num_images, score_threshold):
    truth, found = random_rows(seed, num_images)
    matches, to_find = matches_and_boxes(
        true_boxes(truth), detected_boxes(found), np.arange(1, num_images + 1)
    )
    errors = count_errors(
        matches, to_find, num_images, FEW_THRESHOLDS, score_threshold=score_threshold
    )
    expected = slow_errors(truth, found, num_images, score_threshold)
    assert [errors.boxes.tolist(), errors.found.tolist(), errors.false.tolist()] == (
        expected.tolist()
    )
    assert errors.errors.tolist() == (expected[0] - expected[1] + expected[2]).tolist()


def test_the_threshold_may_come_before_or_after_the_matching():
    truth, found = random_rows(11, 12)
    images = np.arange(1, 13)
    above = [row for row in found if row[3] >= 0.5]
    late, early = (
        count_errors(
            *matches_and_boxes(true_boxes(truth), detected_boxes(rows), images),
            12,
            FEW_THRESHOLDS,
            score_threshold=0.5,
        )
        for rows in (found, above)
    )
    assert late.found.tolist() == early.found.tolist()
    assert late.false.tolist() == early.false.tolist()


def image_errors(boxes, found, false):
    return ImageErrors(np.array(boxes), np.array(found), np.array(false))


def test_images_come_by_change_of_errors_then_of_f1_then_in_their_order():
    # Errors: 2 3 1 0 1 1 before, 2 1 0 1 3 0 after.
    first = image_errors([2, 3, 1, 0, 9, 9], [0, 0, 1, 0, 8, 8], [0, 0, 1, 0, 0, 0])
    second = image_errors([2, 3, 1, 0, 9, 9], [0, 2, 1, 0, 7, 9], [0, 0, 0, 1, 1, 0])
    better, worse = most_changed(first, second)
    assert better.tolist() == [1, 2, 5], "one error fewer means more where there are few boxes"
    assert worse.tolist() == [4, 3]
    assert [part.tolist() for part in most_changed(first, second, number=1)] == [[1], [4]]

    words = describe_changed(first, second, np.array([10, 20, 30, 40, 50, 60]), number=1)
    assert words["worse"] == [
        {
            "image_id": 50,
            "boxes": 9,
            "errors": [1, 3],
            "found": [8, 7],
            "false": [0, 1],
            "f1": [16 / 17, 14 / 17],
        }
    ]
    assert words["better"][0]["image_id"] == 20
    json.dumps(words)


def test_an_image_with_nothing_on_it_is_perfect():
    assert image_errors([0], [0], [0]).f1.tolist() == [1.0]


def test_differences_are_taken_pair_by_pair_and_signs_are_counted_around_the_observed():
    observed = (np.array([0.5, 0.2, -1.0, 0.3]), np.array([0.6, 0.2, -1.0, 0.1]))
    resampled = (
        np.array([[0.5, 0.2, -1.0, 0.3], [0.9, 0.3, -1.0, 0.4], [0.1, 0.1, -1.0, -1.0]]),
        np.array([[0.6, 0.2, -1.0, 0.2], [0.9, 0.4, -1.0, 0.1], [0.3, 0.0, -1.0, -1.0]]),
    )
    differences = compare(observed, resampled, confidence=0.5)
    np.testing.assert_allclose(differences.observed, [0.1, 0.0, np.nan, -0.2])
    np.testing.assert_allclose(differences.intervals.low, [0.05, -0.05, np.nan, -0.25])
    np.testing.assert_allclose(differences.intervals.high, [0.15, 0.05, np.nan, -0.15])
    np.testing.assert_allclose(differences.intervals.bias, [0.0, 0.0, np.nan, 0.0], atol=1e-12)
    assert differences.intervals.num_defined.tolist() == [3, 3, 0, 2]
    # Differences 0.1, 0 and 0.2: the middle one is not above 0.
    np.testing.assert_allclose(differences.same_sign[[0, 3]], [2 / 3, 1.0])
    assert np.isnan(differences.same_sign[[1, 2]]).all()


def compared_runs():
    """A run, and the same run whose every second detection has its score halved."""
    truth, found = random_rows(21, 30)
    true, detections, image_ids = true_boxes(truth), detected_boxes(found), np.arange(1, 31)
    worse = DetectedBoxes(
        detections.image_ids,
        detections.category_ids,
        detections.boxes,
        np.where(np.arange(len(found)) % 2, detections.scores, detections.scores / 2),
    )
    return [
        rank(*matches_and_boxes(true, run, image_ids), 30, FEW_THRESHOLDS)
        for run in (detections, worse)
    ]


def test_a_run_does_not_differ_from_itself():
    run, _ = compared_runs()
    observed, resampled = weighted_numbers(run, np.ones(30, np.int64)), resample(run, 0, 0, 5)
    differences = compare((observed, observed), (resampled, resampled))
    is_defined = observed >= 0
    for values in (
        differences.observed, differences.intervals.low, differences.intervals.high,
    ):  # fmt: skip
        assert (values[is_defined] == 0).all()
    assert np.isnan(differences.same_sign).all()


def test_pairs_vary_less_than_the_runs_on_their_own():
    runs = compared_runs()
    observed = tuple(weighted_numbers(run, np.ones(30, np.int64)) for run in runs)
    paired = compare(observed, tuple(resample(run, 0, 0, 40) for run in runs))
    unpaired = compare(observed, tuple(resample(run, seed, 0, 40) for seed, run in enumerate(runs)))
    name = METRIC_NAMES.index("AP50")
    widths = [(d.intervals.high - d.intervals.low)[name] for d in (paired, unpaired)]
    assert widths[0] < widths[1]

    words = describe(paired, 40, CATEGORY_IDS.tolist())
    assert tuple(words["overall"]) == METRIC_NAMES
    assert tuple(words["per_category"]) == (2, 5, 9)
    assert words["overall"]["AP50"]["difference"] == observed[1][name] - observed[0][name]
    assert words["overall"]["AP50"]["low"] < words["overall"]["AP50"]["high"]
    json.dumps(words, allow_nan=False)


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_what_is_undefined_in_both_runs_is_null(value):
    observed = np.full(12, value)
    words = describe(compare((observed, observed), (observed[None], observed[None])), 1, [])
    assert words["overall"]["AP"]["difference"] == (None if value < 0 else 0.0)
