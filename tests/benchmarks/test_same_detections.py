"""The benchmark's check: speed must not be bought with other results."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.same_detections import Found, compare

Detection = tuple[float, float, float, float, float, int]
"""x_min, y_min, x_max, y_max, score, label."""


def found(*detections: Detection) -> Found:
    table = np.array(detections, np.float64).reshape(-1, 6)
    return Found(boxes=table[:, :4], scores=table[:, 4], labels=table[:, 5].astype(np.int64))


CAT: Detection = (10, 10, 50, 40, 0.9, 17)
DOG: Detection = (60, 20, 90, 80, 0.8, 18)


@given(st.permutations([CAT, DOG, (10, 11, 50, 40, 0.9, 18), (200, 10, 220, 30, 0.3, 17)]))
def test_order_does_not_matter(shuffled: list[Detection]) -> None:
    reference = {"a.jpg": found(CAT, DOG, (10, 11, 50, 40, 0.9, 18), (200, 10, 220, 30, 0.3, 17))}
    difference = compare(reference, {"a.jpg": found(*shuffled)})
    assert difference.is_none
    assert (difference.num_alone, difference.max_box_px, difference.max_score) == (0, 0, 0)


@pytest.mark.parametrize(
    ("other", "num_alone"),
    [
        pytest.param({"a.jpg": found(CAT)}, 1, id="one is missing"),
        pytest.param({"a.jpg": found(CAT, DOG, DOG)}, 1, id="one is double"),
        pytest.param({"a.jpg": found(CAT, (60, 20, 90, 80, 0.8, 19))}, 2, id="another label"),
        pytest.param({"a.jpg": found(CAT, (160, 20, 190, 80, 0.8, 18))}, 2, id="another place"),
        pytest.param({"b.jpg": found(CAT, DOG)}, 4, id="another photo"),
        pytest.param({}, 2, id="nothing at all"),
    ],
)
def test_what_has_no_counterpart_is_counted(other: dict[str, Found], num_alone: int) -> None:
    difference = compare({"a.jpg": found(CAT, DOG)}, other)
    assert difference.num_alone == num_alone
    assert not difference.is_none


def test_largest_differences_of_pairs_are_told() -> None:
    moved: Detection = (60, 20, 90.25, 80, 0.75, 18)
    difference = compare({"a.jpg": found(CAT, DOG)}, {"a.jpg": found(moved, CAT)})
    assert difference.num_alone == 0
    assert difference.max_box_px == 0.25
    assert difference.max_score == pytest.approx(0.05)
    assert not difference.is_none


def test_nearest_of_two_neighbours_is_the_counterpart() -> None:
    left: Detection = (10, 10, 12, 12, 0.9, 1)
    right: Detection = (10.75, 10, 12.75, 12, 0.5, 1)
    difference = compare({"a.jpg": found(left, right)}, {"a.jpg": found(right, left)})
    assert difference.is_none


def test_two_without_detections_are_the_same() -> None:
    assert compare({"a.jpg": found()}, {}).is_none
