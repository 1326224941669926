"""The sparse matching of anchors against the dense one, box by box."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from fcos_core.metrics.bpr import AnchorRule, Cause, measure, named_rule, rule_names
from fcos_core.metrics.bpr.anchors import anchor_shapes
from tests.fcos_core.metrics.bpr.blocks import block_of, crowded, images
from tests.fcos_core.metrics.bpr.reference import dense_anchors
from tests.fcos_core.metrics.bpr.test_locations import assert_equal_to_dense

NAMED = [name for name in rule_names() if isinstance(named_rule(name), AnchorRule)]


def dense(boxes, _labels, size, rule):
    return dense_anchors(boxes, size, rule)


def small(name):
    rule = named_rule(name)
    return replace(rule, frame=replace(rule.frame, min_size_px=256, max_size_px=426))


@pytest.mark.parametrize("name", NAMED)
@settings(max_examples=25)
@given(image=images(max_boxes=8))
def test_every_box_fares_as_in_the_dense_matching(name, image):
    assert_equal_to_dense([image], small(name), dense)


@pytest.mark.parametrize("name", NAMED)
def test_crowds_fare_as_in_the_dense_matching_at_full_size(name):
    assert_equal_to_dense(
        [crowded(40, seed=2), crowded(25, seed=3, size=(640, 427))], named_rule(name), dense
    )


def test_anchors_are_those_of_the_published_generator():
    # generate_anchors() of py-faster-rcnn with stride 16 and scales 8, 16, 32 prints these nine.
    rule = replace(
        named_rule("retinanet-none"), strides=(16,), sizes_px=(128,), scales_per_octave=1
    )
    assert anchor_shapes(rule).corners.tolist() == [
        [-84, -40, 99, 55],
        [-56, -56, 71, 71],
        [-36, -80, 51, 95],
    ]


def test_the_three_settings_keep_more_and_more():
    # Far too thin for IoU 0.5 or 0.4, but one anchor still overlaps it most.
    thin = block_of((800, 800, [(100, 100, 301, 11)], [0]))
    causes = [measure(thin, named_rule(name)).causes[0] for name in NAMED]
    assert causes == [Cause.LOW_IOU, Cause.LOW_IOU, Cause.RECALLED]


def test_a_copy_of_a_box_is_lost_since_the_first_one_takes_all_anchors():
    twice = block_of((800, 800, [(100, 100, 65, 65)] * 2, [0, 0]))
    outcomes = measure(twice, named_rule("retinanet-all"))
    assert outcomes.causes.tolist() == [Cause.RECALLED, Cause.SHADOWED]
    assert set(outcomes.shadows.takers.tolist()) == {0}
