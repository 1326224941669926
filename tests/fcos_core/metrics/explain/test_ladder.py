"""The recall ladder against a slow reading of its definitions, and on an example by hand."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.coco import SIZE_NAMES, DetectedBoxes, Settings, TrueBoxes, match
from fcos_core.metrics.explain import overlaps
from fcos_core.metrics.explain.ladder import count_steps, describe, ladder_boxes

CATEGORY_IDS = np.array([2, 5, 9])
CLASS_NAMES = ["cat", "dog", "owl"]
AREAS = (100.0, 1024.0, 5000.0, 9216.0, 20000.0)  # two of them on COCO's edges


def true_boxes(rows):
    """Rows of image, category, box, area, crowd."""
    images, categories, boxes, areas, crowds = zip(*rows, strict=True) if rows else [()] * 5
    return TrueBoxes(
        np.array(images, np.int64),
        np.array(categories, np.int64),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(areas, np.float64),
        np.array(crowds, np.bool_),
    )


def detected_boxes(rows):
    """Rows of image, category, box, score."""
    images, categories, boxes, scores = zip(*rows, strict=True) if rows else [()] * 4
    return DetectedBoxes(
        np.array(images, np.int64),
        np.array(categories, np.int64),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(scores, np.float64),
    )


def random_rows(seed, num_images):
    """Coarse boxes and scores, so that overlaps and ties are common; category 7 is not scored."""
    rng = np.random.default_rng(seed)

    def box():
        return [*(rng.integers(0, 5, 2) * 20.0).tolist(), *(rng.integers(1, 5, 2) * 15.0).tolist()]

    def category():
        return int(rng.choice([2, 5, 7, 9]))

    truth = [
        (image, category(), box(), float(rng.choice(AREAS)), bool(rng.random() < 0.2))
        for image in range(1, num_images + 1)
        for _ in range(rng.integers(0, 5))
    ]
    found = [
        (image, category(), box(), float(rng.integers(0, 5)) / 4)
        for image in range(1, num_images + 1)
        for _ in range(rng.integers(0, 8))
    ]
    found += [
        (
            row[0],
            row[1] if rng.random() < 0.7 else category(),
            row[2],
            float(rng.integers(0, 5)) / 4,
        )
        for row in truth
        if rng.random() < 0.7
    ]
    rng.shuffle(truth)
    rng.shuffle(found)
    return truth, found


def slow_iou(one, two):
    width = min(one[0] + one[2], two[0] + two[2]) - max(one[0], two[0])
    height = min(one[1] + one[3], two[1] + two[3]) - max(one[1], two[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (one[2] * one[3] + two[2] * two[3] - width * height)


def slow_match(truth, found, limit):
    """COCO's greedy matching at IoU 0.5, area "all": the detection that each box gets."""
    finder = {}
    for image, category in {row[:2] for row in found}:
        own = [d for d, row in enumerate(found) if row[:2] == (image, category)]
        for d in sorted(own, key=lambda d: -found[d][3])[:limit]:
            best, best_iou = None, 0.5
            for g, row in enumerate(truth):
                if row[:2] == (image, category) and not row[4] and g not in finder:
                    iou = slow_iou(found[d][2], row[2])
                    if iou >= best_iou:  # of equal ones the last
                        best, best_iou = g, iou
            if best is not None:
                finder[best] = d
    return finder


def slow_ladder(truth, found, is_assignable, score_threshold, limit):
    """One box and one step at a time: boxes on each step by class and area, and the table."""
    finder = slow_match(truth, found, limit)
    boxes = np.zeros((6, 3, 3), np.int64)
    table = np.zeros((2, 2), np.int64)
    for g, (image, category, box, area, is_crowd) in enumerate(truth):
        if is_crowd or category not in CATEGORY_IDS:
            continue
        is_found = any(row[0] == image and slow_iou(row[2], box) >= 0.5 for row in found)
        table[int(is_assignable[g]), int(is_found)] += 1
        d = finder.get(g)
        ahead = [
            e
            for e, row in enumerate(found)
            if d is not None and row[0] == image and (-row[3], e) < (-found[d][3], d)
        ]
        answers = [
            True,
            is_assignable[g],
            is_found,
            d is not None,
            d is not None and found[d][3] >= score_threshold,
            d is not None and len(ahead) < limit,
        ]
        size = 0 if area < 32**2 else 1 if area < 96**2 else 2
        for step, answer in enumerate(answers):
            if not answer:
                break
            boxes[step, CATEGORY_IDS.tolist().index(category), size] += 1
    return boxes, table


def fast_ladder(truth, found, is_assignable=None, *, score_threshold=0.5, limit=100):
    coco = Settings(max_detections=(1, 2, limit))
    true, detections = true_boxes(truth), detected_boxes(found)
    boxes = ladder_boxes(
        true,
        detections,
        match(true, detections, CATEGORY_IDS, coco),
        CATEGORY_IDS,
        coco,
        is_assignable=None if is_assignable is None else np.array(is_assignable, np.bool_),
    )
    return count_steps(boxes, len(CATEGORY_IDS), score_threshold=score_threshold, limit=limit)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 5),
    limit=st.sampled_from([3, 4, 100]),
    pairs_at_once=st.sampled_from([1, 7, 1000]),
)
def test_every_step_and_the_table_equal_the_slow_reading(seed, num_images, limit, pairs_at_once):
    truth, found = random_rows(seed, num_images)
    is_assignable = (np.random.default_rng(seed).random(len(truth)) < 0.8).tolist()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlaps, "_PAIRS_AT_ONCE", pairs_at_once)
        counts = fast_ladder(truth, found, is_assignable, limit=limit)

    boxes, table = slow_ladder(truth, found, is_assignable, 0.5, limit)
    assert counts.names == (
        "ground_truth", "assignable", "found", "right_class", "over_threshold", f"top_{limit}",
    )  # fmt: skip
    assert counts.boxes.tolist() == boxes.tolist()
    assert counts.assignable_by_found.tolist() == table.tolist()


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 5))
def test_counts_of_blocks_add_up_to_those_of_the_whole(seed, cut):
    truth, found = random_rows(seed, 5)
    halves = [
        fast_ladder(
            [row for row in truth if (row[0] <= cut) == is_first],
            [row for row in found if (row[0] <= cut) == is_first],
        )
        for is_first in (True, False)
    ]
    whole = fast_ladder(truth, found)
    assert reduce(add, halves).boxes.tolist() == whole.boxes.tolist()
    assert reduce(add, halves).names == whole.names


def test_worked_example_loses_one_box_on_every_step():
    def column(i):
        return [100.0 * i, 0.0, 50.0, 50.0]

    truth = [
        (1, 2, column(0), 2500.0, False),  # not assignable, though it is found
        (1, 2, column(1), 2500.0, False),  # overlapped by nothing
        (1, 5, column(2), 100.0, False),  # taken for a cat
        (1, 5, column(3), 1024.0, False),  # found with too low a score
        (1, 9, column(4), 9216.0, False),  # found by the third of the image
        (1, 9, column(5), 9216.0, False),  # found by the best
        (1, 9, column(6), 9216.0, True),  # a crowd: nobody wants it
    ]
    found = [
        (1, 9, column(5), 0.9),
        (1, 2, column(2), 0.8),
        (1, 9, column(4), 0.7),
        (1, 2, column(0), 0.6),
        (1, 5, column(3), 0.4),
        (1, 9, column(6), 0.3),
    ]
    is_assignable = [False, True, True, True, True, True, False]

    counts = fast_ladder(truth, found, is_assignable, limit=2)
    words = describe(counts, CLASS_NAMES, {"AR100": 0.4, "AP": 0.3})

    steps = words["steps"]
    assert [step["boxes"] for step in steps] == [6, 5, 4, 3, 2, 1]
    assert [step["lost"] for step in steps] == [0, 1, 1, 1, 1, 1]
    assert [step["lost_by_class"] for step in steps[1:]] == [
        [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1],
    ]  # fmt: skip
    assert [max(step["lost_by_area"], key=step["lost_by_area"].get) for step in steps[1:]] == [
        "medium", "medium", "small", "medium", "large",
    ]  # fmt: skip
    assert words["classes"] == CLASS_NAMES
    assert words["averages"] == {"AR100": 0.4, "AP": 0.3}
    assert words["assignable_by_found"] == {
        "not_assignable": {"not_found": 0, "found": 1},
        "assignable": {"not_found": 1, "found": 4},
    }


def test_what_is_lost_sums_up_by_area_and_by_class():
    truth, found = random_rows(1, 20)
    for step in describe(fast_ladder(truth, found), CLASS_NAMES, {})["steps"]:
        for what in ("boxes", "lost"):
            assert tuple(step[f"{what}_by_area"]) == SIZE_NAMES
            assert sum(step[f"{what}_by_area"].values()) == step[what]
            assert sum(step[f"{what}_by_class"]) == step[what]


def test_without_assignability_the_step_and_the_table_are_left_out():
    truth, found = random_rows(2, 5)
    words = describe(fast_ladder(truth, found), CLASS_NAMES, {})
    assert [step["name"] for step in words["steps"]] == [
        "ground_truth", "found", "right_class", "over_threshold", "top_100",
    ]  # fmt: skip
    assert words["assignable_by_found"] is None


@pytest.mark.parametrize(("score", "is_over"), [(0.5, 1), (np.nextafter(0.5, 0), 0)])
def test_a_score_at_the_threshold_is_over_it(score, is_over):
    box = [0.0, 0.0, 10.0, 10.0]
    counts = fast_ladder([(1, 2, box, 100.0, False)], [(1, 2, box, float(score))])
    assert counts.boxes[counts.names.index("over_threshold")].sum() == is_over


@pytest.mark.parametrize("num_boxes", [0, 3])
@pytest.mark.parametrize("num_detections", [0, 3])
def test_nothing_on_either_side_is_no_trouble(num_boxes, num_detections):
    box = [0.0, 0.0, 10.0, 10.0]
    counts = fast_ladder(
        [(1, 2, box, 100.0, False)] * num_boxes, [(1, 2, box, 0.9)] * num_detections
    )
    reached = min(num_boxes, num_detections)
    found = num_boxes if num_detections else 0
    assert counts.boxes.sum(axis=(1, 2)).tolist() == [num_boxes, found, reached, reached, reached]
