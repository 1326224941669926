"""Numbers under image weights are those of a dataset in which the images are copied, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.bootstrap.intervals import describe, percentile_intervals
from fcos_core.metrics.bootstrap.ranking import boxes_to_find, joined, rank
from fcos_core.metrics.bootstrap.resampling import image_weights, resample, weighted_numbers
from fcos_core.metrics.coco import (
    METRIC_NAMES,
    DetectedBoxes,
    Settings,
    TrueBoxes,
    by_category,
    evaluate_boxes,
    match,
)

CATEGORY_IDS = [2, 5, 9]
# Few thresholds keep the checked arrays small; AP50 and AP75 have their own.
FEW_THRESHOLDS = Settings(iou_thresholds=(0.5, 0.75, 0.9))
# With two detections per image and category at most, all limits are felt.
LOW_LIMITS = Settings(max_detections=(1, 2, 3))


def random_dataset(seed, num_images, *, has_ties):
    """Boxes of all sizes, many on COCO's area edges; scores tie between images, or anywhere."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for image in range(num_images):
        for _ in range(rng.integers(0, 6)):
            side = rng.choice([16.0, 32.0, 33.0, 60.0, 96.0, 97.0, 150.0])
            box = np.array([*rng.integers(0, 4, 2) * 50.0, side, side])
            category = rng.choice(CATEGORY_IDS)
            area = side**2 * rng.choice([0.7, 1.0])
            truth.append((image, category, box, area, rng.random() < 0.1))
            for _ in range(rng.integers(0, 3)):
                moved = box * rng.choice([1.0, 1.0, 1.05], 4) + rng.choice([0.0, 4.0], 4)
                found.append((image, rng.choice([*CATEGORY_IDS, category]), moved))
        for _ in range(rng.integers(0, 3)):
            box = np.array([*rng.integers(0, 4, 2) * 50.0, *rng.choice([20.0, 50.0, 120.0], 2)])
            found.append((image, rng.choice(CATEGORY_IDS), box))
    if has_ties:
        scores = rng.integers(0, 5, len(found)) / 8
    else:  # each image uses each of the same few scores once
        scores = np.array([rng.permutation(64)[0] for _ in found]) / 64.0
        taken = set()
        for i, (image, category, _) in enumerate(found):
            while (image, category, scores[i]) in taken:
                scores[i] = (scores[i] + 1 / 64) % 1
            taken.add((image, category, scores[i]))
    return (
        TrueBoxes(
            np.array([row[0] for row in truth], np.int64),
            np.array([row[1] for row in truth], np.int64),
            np.array([row[2] for row in truth], np.float64).reshape(-1, 4),
            np.array([row[3] for row in truth], np.float64),
            np.array([row[4] for row in truth], np.bool_),
        ),
        DetectedBoxes(
            np.array([row[0] for row in found], np.int64),
            np.array([row[1] for row in found], np.int64),
            np.array([row[2] for row in found], np.float64).reshape(-1, 4),
            scores.astype(np.float64),
        ),
    )


def rankings_of(truth, detections, num_images, coco):
    image_ids, category_ids = np.arange(num_images), np.array(CATEGORY_IDS)
    matches = match(truth, detections, category_ids, coco, image_ids=image_ids)
    to_find = boxes_to_find(truth, image_ids, category_ids, coco)
    return rank(by_category(matches), to_find, num_images, coco)


def copied(rows, weights):
    """Each image as often as its weight says, copies under ids that follow one another."""
    rows_of_image = [np.flatnonzero(rows.image_ids == image) for image in range(len(weights))]
    copies = [rows_of_image[image] for image in np.repeat(np.arange(len(weights)), weights)]
    values = {
        name: getattr(rows, name)[np.concatenate(copies)] for name in rows.__dataclass_fields__
    }
    values["image_ids"] = np.repeat(np.arange(len(copies)), [len(own) for own in copies])
    return type(rows)(**values)


def plain_numbers(truth, detections, coco):
    metrics = evaluate_boxes(truth, detections, category_ids=CATEGORY_IDS, settings=coco)
    return [*metrics.overall.values(), *(metrics.per_category[k]["AP"] for k in CATEGORY_IDS)]


@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 25),
    coco=st.sampled_from([FEW_THRESHOLDS, LOW_LIMITS]),
)
def test_weights_equal_copied_images_bit_for_bit(seed, num_images, coco):
    truth, detections = random_dataset(seed, num_images, has_ties=False)
    rankings = rankings_of(truth, detections, num_images, coco)
    for index in range(2):
        weights = image_weights(num_images, seed, index)
        expected = plain_numbers(copied(truth, weights), copied(detections, weights), coco)
        assert weighted_numbers(rankings, weights).tolist() == expected


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), num_images=st.integers(1, 25))
def test_weights_of_one_give_the_plain_numbers_whatever_the_ties(seed, num_images):
    truth, detections = random_dataset(seed, num_images, has_ties=True)
    numbers = weighted_numbers(
        rankings_of(truth, detections, num_images, FEW_THRESHOLDS), np.ones(num_images, np.int64)
    )
    assert numbers.tolist() == plain_numbers(truth, detections, FEW_THRESHOLDS)


def test_weights_of_one_give_the_plain_numbers_under_coco_settings():
    truth, detections = random_dataset(3, 40, has_ties=True)
    numbers = weighted_numbers(
        rankings_of(truth, detections, 40, Settings()), np.ones(40, np.int64)
    )
    assert numbers.tolist() == plain_numbers(truth, detections, Settings())


def test_what_no_drawn_image_has_is_undefined():
    truth, detections = random_dataset(3, 6, has_ties=False)
    rankings = rankings_of(truth, detections, 6, FEW_THRESHOLDS)
    assert set(weighted_numbers(rankings, np.zeros(6, np.int64)).tolist()) == {-1.0}


def test_ranges_of_resamples_put_together_are_the_whole():
    truth, detections = random_dataset(4, 10, has_ties=False)
    rankings = rankings_of(truth, detections, 10, FEW_THRESHOLDS)
    whole = resample(rankings, 7, 0, 6)
    parts = [resample(rankings, 7, first, last) for first, last in ((4, 6), (2, 2), (0, 4))]
    assert whole.shape == (6, len(METRIC_NAMES) + len(CATEGORY_IDS))
    assert np.concatenate([parts[2], parts[1], parts[0]]).tolist() == whole.tolist()
    assert resample(rankings, 8, 0, 6).tolist() != whole.tolist()


def test_boxes_of_blocks_join_to_those_of_the_whole():
    truth, _ = random_dataset(5, 8, has_ties=False)
    image_ids, category_ids = np.arange(8), np.array([2, 9])

    def some(is_chosen):
        values = {name: getattr(truth, name)[is_chosen] for name in truth.__dataclass_fields__}
        return boxes_to_find(TrueBoxes(**values), image_ids, category_ids, Settings())

    parts = joined([some(truth.image_ids >= 3), some(truth.image_ids < 3)])
    whole = some(truth.image_ids >= 0)
    assert sorted(zip(parts.image, parts.key, strict=True)) == sorted(
        zip(whole.image, whole.key, strict=True)
    )


def test_a_resample_has_as_many_images_as_there_are_and_is_its_index_own():
    first, second = image_weights(50, 1, 0), image_weights(50, 1, 1)
    assert first.sum() == second.sum() == 50
    assert first.tolist() != second.tolist()
    assert image_weights(50, 1, 1).tolist() == second.tolist()
    child = np.random.default_rng(np.random.SeedSequence(1).spawn(2)[1])
    assert second.tolist() == np.bincount(child.integers(50, size=50), minlength=50).tolist()


def test_intervals_lie_around_the_observed_values_and_leave_out_what_is_undefined():
    observed = np.array([8.0, 1.0, 2.0, np.nan])
    resampled = np.array(
        [[0.0, np.nan, 1.0, 5.0], [10.0, np.nan, np.nan, 5.0], [20.0, np.nan, 3.0, 5.0]]
    )
    intervals = percentile_intervals(observed, resampled, confidence=0.5)
    # Of 0, 10, 20 the middle half is 5 to 15; their mean is 2 above what was observed.
    np.testing.assert_allclose(intervals.bias, [2.0, np.nan, 0.0, np.nan])
    np.testing.assert_allclose(intervals.low, [3.0, np.nan, 1.5, np.nan])
    np.testing.assert_allclose(intervals.high, [13.0, np.nan, 2.5, np.nan])
    assert intervals.num_defined.tolist() == [3, 0, 2, 3]


def test_intervals_of_skewed_values_hold_the_observed_one():
    truth, detections = random_dataset(6, 40, has_ties=False)
    rankings = rankings_of(truth, detections, 40, FEW_THRESHOLDS)
    observed = weighted_numbers(rankings, np.ones(40, np.int64))
    words = describe(observed, resample(rankings, 0, 0, 40), CATEGORY_IDS)
    for row in [*words["overall"].values(), *words["per_category"].values()]:
        assert row["low"] < row["value"] < row["high"]


def test_description_names_every_number_and_says_minus_one_where_undefined():
    observed = np.array([0.5] * 12 + [0.01, 0.25, -1.0])
    resampled = np.array([[0.5] * 12 + [0.0, -1.0, -1.0], [0.7] * 12 + [0.3, 0.3, -1.0]])
    words = describe(observed, resampled, [2, 5, 9], confidence=0.5)
    assert tuple(words["overall"]) == METRIC_NAMES
    assert words["overall"]["AP50"] == pytest.approx(
        {"value": 0.5, "low": 0.45, "high": 0.55, "bias": 0.1, "resamples": 2}
    )
    assert words["per_category"][2]["low"] == 0.0, "no AP is below 0"
    assert words["per_category"][5] == pytest.approx(
        {"value": 0.25, "low": 0.25, "high": 0.25, "bias": 0.05, "resamples": 1}
    )
    assert words["per_category"][9] == {
        "value": -1.0, "low": -1.0, "high": -1.0, "bias": None, "resamples": 0,
    }  # fmt: skip
    assert (words["confidence"], words["resamples"]) == (0.5, 2)
