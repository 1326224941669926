"""The sparse assignment of locations against the dense one, box by box."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fcos_core.metrics.bpr import Cause, LocationRule, custom_rule, measure, named_rule, rule_names
from tests.fcos_core.metrics.bpr.blocks import block_of, crowded, images
from tests.fcos_core.metrics.bpr.reference import dense_locations

NAMED = [name for name in rule_names() if isinstance(named_rule(name), LocationRule)]
SMALL = replace(named_rule("paper").frame, min_size_px=200, max_size_px=333)
RULES = {
    **{name: named_rule(name) for name in NAMED},
    "plain boxes": custom_rule(boxes="plain"),
    "overlapping ranges": custom_rule(
        size_ranges=[(0.0, 100.0), (40.0, 300.0), (100.0, 1e4), (0.0, 9.0), (9.0, 9.5)]
    ),
    "fine, sampled": custom_rule(
        strides=[4, 8], center_radius=0.4, min_size_px=300, max_size_px=500
    ),
    "open in float64": replace(
        custom_rule(), encoding=replace(named_rule("torchvision").encoding, area_rule="plain")
    ),
    "closed in float32": replace(
        named_rule("torchvision"), encoding=replace(named_rule("paper").encoding, center_radius=1.5)
    ),
}


def assert_equal_to_dense(images, rule, dense=dense_locations):
    """Compare every box of every image, and the counts of the whole block."""
    outcomes = measure(block_of(*images), rule)
    expected = [dense(p[2], p[3], p[:2], rule) for p in images]
    assert outcomes.causes.tolist() == [cause for e in expected for cause in e.causes]
    np.testing.assert_array_equal(
        outcomes.num_candidates, np.concatenate([e.num_candidates for e in expected])
    )
    np.testing.assert_array_equal(outcomes.num_kept, np.concatenate([e.num_kept for e in expected]))
    np.testing.assert_array_equal(outcomes.num_ambiguous, sum(e.num_ambiguous for e in expected))
    np.testing.assert_array_equal(
        outcomes.num_cross_class, sum(e.num_cross_class for e in expected)
    )
    found: dict[int, dict[int, int]] = {}
    shadows = outcomes.shadows
    for lost, taker, times in zip(
        shadows.lost.tolist(), shadows.takers.tolist(), shadows.num_taken.tolist(), strict=True
    ):
        found.setdefault(lost, {})[taker] = times
    first, wanted = 0, {}
    for image, e in zip(images, expected, strict=True):
        for box, takers in e.takers.items():
            wanted[first + box] = {first + taker: times for taker, times in takers.items()}
        first += len(image[2])
    assert found == wanted


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(image=images())
@example(image=(1, 100_000, [(0.0, 0.0, 100_000.0, 1.0)], [0]))  # resized to a single row
@example(image=(480, 640, [(1e9, 1e9, 1e9, 1e9), (-1e9, -1e9, 3e9, 3e9)], [0, 1]))
def test_every_box_fares_as_in_the_dense_assignment(name, image):
    assert_equal_to_dense([image], RULES[name])


@pytest.mark.parametrize("name", NAMED)
def test_thousands_of_boxes_in_one_image_fare_as_in_the_dense_assignment(name):
    rule = replace(RULES[name], frame=replace(RULES[name].frame, min_size_px=200, max_size_px=333))
    assert_equal_to_dense([crowded(2000, seed=1)], rule)


@given(st.lists(images(max_boxes=3), min_size=1, max_size=5))
@settings(max_examples=15)
def test_images_of_one_block_do_not_touch_each_other(several):
    assert_equal_to_dense(several, replace(RULES["improved"], frame=SMALL))


def test_blocks_of_many_images_are_cut_and_joined_without_a_seam():
    several = [crowded(int(number % 4), seed=number, size=(60, 90)) for number in range(300)]
    assert_equal_to_dense(several, replace(RULES["paper"], frame=SMALL))


def test_a_block_without_boxes_or_images_gives_nothing():
    for block in (block_of(), block_of((10, 10, [], []))):
        outcomes = measure(block, RULES["paper"])
        assert len(outcomes.causes) == len(outcomes.shadows.lost) == 0
        assert outcomes.num_ambiguous.tolist() == [0] * 5


# The image is 800 x 800, so that nothing is resized; locations are 4, 12, 20, ... on P3
# and 8, 24, 40, ... on P4.
CAUSES = {
    "a box around (4, 4) is recalled": ([(0, 0, 11, 11)], Cause.RECALLED),
    "between locations of P3 and P4": ([(8.5, 8.5, 4, 4)], Cause.NO_LOCATION),
    "locations on its sides are not inside": ([(4, 4, 5, 5)], Cause.NO_LOCATION),
    "without area": ([(10, 10, 0, 0)], Cause.NO_LOCATION),
    # 600 px long and 6 px high around y = 404: only P3 has locations there, and its range ends.
    "thin and long": ([(20, 401, 601, 7)], Cause.OUT_OF_RANGE),
    "under a copy of itself": ([(100, 100, 50, 50), (100, 100, 50, 50)], Cause.SHADOWED),
}


@pytest.mark.parametrize(("boxes", "cause"), CAUSES.values(), ids=CAUSES)
def test_a_box_is_lost_for_the_reason_it_was_drawn_for(boxes, cause):
    outcomes = measure(block_of((800, 800, boxes, [0] * len(boxes))), named_rule("paper"))
    assert outcomes.causes[-1] == cause


def test_a_box_without_location_near_its_centre_has_an_empty_centre():
    # Along x, within 0.3 strides of 100.5 there is no location of P3 (96.. is 100): |100 - 100.5|
    # is fine, so the box is moved to be centred between 100 and 108.
    box = (104 - 30, 104 - 30, 61, 61)
    rule = custom_rule(strides=[8], size_ranges=[(-1.0, 64.0)], center_radius=0.3)
    assert measure(block_of((800, 800, [box], [0])), rule).causes[0] == Cause.CENTER_EMPTY


def test_shadows_name_who_took_which_share():
    # Two small boxes share the locations of the large one between them.
    large = (96, 96, 17, 9)  # locations (100, 100) and (108, 100)
    small = [(97, 97, 8, 8), (105, 97, 7, 7)]
    outcomes = measure(block_of((800, 800, [large, *small], [0, 1, 2])), named_rule("paper"))
    assert outcomes.causes.tolist() == [Cause.SHADOWED, Cause.RECALLED, Cause.RECALLED]
    assert outcomes.shadows.lost.tolist() == [0, 0]
    assert outcomes.shadows.takers.tolist() == [1, 2]
    assert outcomes.shadows.num_taken.tolist() == [1, 1]


def test_only_locations_of_several_classes_are_ambiguous_across_classes():
    boxes = [(100, 100, 60, 60), (100, 100, 60, 60), (400, 400, 60, 60), (400, 400, 60, 60)]
    outcomes = measure(block_of((800, 800, boxes, [0, 0, 0, 1])), named_rule("paper"))
    assert outcomes.num_ambiguous[0] == outcomes.num_kept[:, 0].sum()
    assert outcomes.num_cross_class[0] == outcomes.num_kept[2, 0]
