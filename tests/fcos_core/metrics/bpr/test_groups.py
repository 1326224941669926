"""What boxes are grouped by, and counts that add up."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.bpr import Cause, measure, named_rule
from fcos_core.metrics.bpr import groups as groups_module
from fcos_core.metrics.bpr.groups import crowding, groupings
from fcos_core.metrics.bpr.tally import describe, level_name, tally
from tests.fcos_core.metrics.bpr.blocks import block_of, images


def slow_iou(one, two):
    width = min(one[0] + one[2], two[0] + two[2]) - max(one[0], two[0])
    height = min(one[1] + one[3], two[1] + two[3]) - max(one[1], two[1])
    shared = max(width, 0) * max(height, 0)
    union = one[2] * one[3] + two[2] * two[3] - shared
    return min(shared / union, 1) if union > 0 else 0


@settings(max_examples=50)
@given(st.lists(images(max_boxes=5), max_size=4), st.sampled_from([1, 7, 1000]))
def test_crowding_is_the_largest_overlap_with_another_box_of_the_image(several, pairs_at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups_module, "_PAIRS_AT_ONCE", pairs_at_once)
        found = crowding(block_of(*several))
    expected = [
        max((slow_iou(box, other) for j, other in enumerate(boxes) if i != j), default=0)
        for _, _, boxes, _ in several
        for i, box in enumerate(boxes)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_values_on_an_edge_belong_to_the_group_above():
    boxes = [(0, 0, 32, 32), (0, 0, 31.9, 32), (0, 0, 300, 96), (0, 0, 8, 0), (0, 0, 15, 10)]
    areas = np.array([1024, 1023.9, 9216, 0, 150])
    by = {g.name: g for g in groupings(block_of((600, 600, boxes, [0] * 5)), areas, ["a"])}
    assert [by["area"].names[i] for i in by["area"].group] == [
        "medium", "small", "large", "small", "small",
    ]  # fmt: skip
    assert [by["side"].names[i] for i in by["side"].group] == [
        "32-64 px", "32-64 px", "256-512 px", "8-16 px", "8-16 px",
    ]  # fmt: skip
    assert [by["aspect"].names[i] for i in by["aspect"].group] == [
        "1-1.5", "1-1.5", "3-5", "12+", "1.5-2",
    ]  # fmt: skip


def test_crowding_groups_begin_with_boxes_that_touch_no_other():
    boxes = [(0, 0, 10, 10), (20, 0, 10, 10), (20, 0, 10, 10), (20, 0, 10, 40)]
    by = {g.name: g for g in groupings(block_of((99, 99, boxes, [0] * 4)), np.ones(4), ["a"])}
    assert [by["crowding"].names[i] for i in by["crowding"].group] == [
        "alone", "IoU 0.75-1", "IoU 0.75-1", "IoU 0-0.25",
    ]  # fmt: skip


@settings(max_examples=25)
@given(st.lists(images(max_boxes=4), min_size=1, max_size=5), st.data())
def test_counts_of_parts_add_up_to_those_of_the_whole(several, data):
    rule = named_rule("improved")

    def counted(some):
        block = block_of(*some)
        areas = block.boxes[:, 2] * block.boxes[:, 3]
        return tally(measure(block, rule), groupings(block, areas, ["a", "b", "c"]))

    cut = data.draw(st.integers(0, len(several)))
    whole = describe(rule, counted(several))
    assert describe(rule, reduce(add, [counted(several[:cut]), counted(several[cut:])])) == whole
    assert whole["recalled"] + sum(whole["lost"].values()) == whole["total"]
    for name in ("area", "side", "aspect", "crowding", "class"):
        assert sum(group["total"] for group in whole[f"by_{name}"]) == whole["total"]
        assert sum(group["recalled"] for group in whole[f"by_{name}"]) == whole["recalled"]
    assert sum(level["positives"] for level in whole["by_level"]) == whole["positives"]


def test_shares_of_nothing_are_undefined_and_anchors_are_never_ambiguous():
    block = block_of((10, 10, [], []))
    groups = groupings(block, np.zeros(0), ["a"])
    nothing = describe(named_rule("paper"), tally(measure(block, named_rule("paper")), groups))
    assert nothing["bpr"] == nothing["ambiguous_ratio"] == -1
    assert list(nothing["lost"]) == ["no_location", "out_of_range", "center_empty", "shadowed"]
    rule = named_rule("retinanet-all")
    anchors = describe(rule, tally(measure(block, rule), groups))
    assert anchors["ambiguous_ratio"] is None
    assert anchors["lost"]["low_iou"] == 0


def test_levels_are_named_by_their_stride():
    assert [level_name(stride) for stride in (8, 128, 20)] == ["P3", "P7", "stride 20"]
    assert Cause.RECALLED == 0
