"""Scores are compared with the share of detections that are right, bin by bin."""

import json
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.explain import calibration
from tests.fcos_core.metrics.explain.scenes import (
    SETTINGS,
    Found,
    Scene,
    Thing,
    loop_matches,
    random_scene,
)

HERE, THERE = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 40.0, 40.0)


def described(scene: Scene):
    return calibration.tally(scene.matches(), SETTINGS).describe(scene.categories)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_bins_are_those_of_plain_loops(seed: int):
    scene = random_scene(seed)
    outcome = loop_matches(scene)
    expected = {}
    for n, of in outcome.items():
        if of != -1:
            score = scene.found[n].score
            row = expected.setdefault(min(int(score * 20), 19), [0, 0, 0.0])
            row[0] += 1
            row[1] += of is not None
            row[2] += score
    total = sum(row[0] for row in expected.values())

    said = described(scene)

    for n, row in enumerate(said["bins"]):
        num, true, scores = expected.get(n, (0, 0, 0.0))
        assert (row["detections"], row["true"]) == (num, true)
        assert row["mean_score"] == (pytest.approx(scores / num) if num else -1.0)
        assert row["precision"] == (pytest.approx(true / num) if num else -1.0)
    gaps = [(num, abs(true - scores) / num) for num, true, scores in expected.values()]
    assert said["ece"] == pytest.approx(sum(n * g for n, g in gaps) / total if total else -1.0)
    assert said["mce"] == pytest.approx(max((g for _, g in gaps), default=-1.0))
    assert json.loads(json.dumps(said, allow_nan=False)) == said


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_blocks_in_any_order_add_up_to_the_same_bits(seed: int):
    scene = random_scene(seed)
    parts = [calibration.tally(block.matches(), SETTINGS) for block in scene.blocks(3)]
    whole = described(scene)
    assert reduce(add, parts).describe(scene.categories) == whole
    assert reduce(add, reversed(parts)).describe(scene.categories) == whole


def test_worked_example_of_two_bins():
    """0.9 of which half are right is 0.4 off, 0.25 of which none are is 0.25 off."""
    found = [
        Found(1, 1, HERE, 0.9),
        Found(1, 1, THERE, 0.9),
        Found(1, 4, HERE, 0.25),
        Found(1, 4, THERE, 0.25),
    ]
    said = described(Scene([Thing(1, 1, HERE)], found))

    assert said["ece"] == pytest.approx((0.4 + 0.25) / 2)
    assert said["mce"] == pytest.approx(0.4)
    assert said["precision"] == 0.25
    assert said["mean_score"] == pytest.approx(0.575)
    assert [row["ece"] for row in said["per_category"]] == pytest.approx([0.4, 0.25, -1.0])


@pytest.mark.parametrize(
    ("score", "place"),
    [
        pytest.param(0.0, 0, id="0 is in the first"),
        pytest.param(0.05, 1, id="an edge is in the bin above"),
        pytest.param(0.15, 3, id="so is one no float is equal to"),
        pytest.param(1.0, 19, id="1 is in the last"),
        pytest.param(1.5, None, id="above 1"),
        pytest.param(-0.1, None, id="below 0"),
    ],
)
def test_where_a_score_is_counted(score: float, place: int | None):
    said = described(Scene([], [Found(1, 1, HERE, score)]))
    counted = [n for n, row in enumerate(said["bins"]) if row["detections"]]
    assert counted == ([] if place is None else [place])
    assert said["outside"] == (place is None)
