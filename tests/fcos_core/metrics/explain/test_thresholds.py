"""A threshold leaves what matching anew without the detections below it would give."""

import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.coco import by_category
from fcos_core.metrics.explain import thresholds
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
    parts = [thresholds.steps(of, SETTINGS) for of in by_category(scene.matches())]
    return thresholds.describe(parts, scene.categories)


def left(scene: Scene, categories: tuple[int, ...], least: float) -> tuple[int, int, int]:
    """Detections that count, those that find a box, and boxes, matched anew."""
    kept = Scene(
        [t for t in scene.things if t.category in categories],
        [f for f in scene.found if f.category in categories and f.score >= least],
        categories,
    )
    outcome = [of for of in loop_matches(kept).values() if of != -1]
    boxes = sum(not t.is_crowd for t in kept.things)
    return len(outcome), sum(of is not None for of in outcome), boxes


def loop_best(scene: Scene, categories: tuple[int, ...]) -> dict[str, float] | None:
    best = None
    for least in sorted({f.score for f in scene.found}, reverse=True):
        counted, true, boxes = left(scene, categories, least)
        if boxes and counted:
            f1 = Fraction(2 * true, counted + boxes)
            if best is None or f1 > best[0]:
                best = f1, least, true / counted, true / boxes
    if best is None:
        return None
    f1, threshold, precision, recall = best
    return {"threshold": threshold, "precision": precision, "recall": recall, "f1": float(f1)}


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_best_thresholds_and_curves_are_those_of_matching_anew(seed: int):
    scene = random_scene(seed)
    said = described(scene)

    parts = [((row["category_id"],), row) for row in said["per_category"]]
    for categories, part in [(scene.categories, said["overall"]), *parts]:
        assert part["best"] == loop_best(scene, categories)
        for at in (0, 25, 30, 100):
            counted, true, boxes = left(scene, categories, at / 100)
            assert part["boxes"] == boxes
            assert part["precision"][at] == (true / counted if counted else -1.0)
            assert part["recall"][at] == (true / boxes if boxes else -1.0)
            assert part["f1"][at] == (2 * true / (counted + boxes) if boxes else -1.0)
    assert json.loads(json.dumps(said, allow_nan=False)) == said


def test_worked_example_of_the_best_threshold_over_one_class_and_all():
    """0.9 right, 0.8 wrong, 0.7 right: F1 is 2/3, 1/2, 4/5 of two boxes."""
    things = [Thing(1, 1, HERE), Thing(1, 1, THERE), Thing(1, 4, HERE)]
    found = [
        Found(1, 1, HERE, 0.9),
        Found(1, 1, (0.0, 200.0, 9.0, 9.0), 0.8),
        Found(1, 1, THERE, 0.7),
        Found(1, 4, HERE, 0.6),
        Found(1, 7, HERE, 0.65),
    ]
    said = described(Scene(things, found))

    assert said["per_category"][0]["best"] == {
        "threshold": 0.7, "precision": 2 / 3, "recall": 1.0, "f1": 0.8,
    }  # fmt: skip
    assert said["per_category"][2]["best"] is None, "there is nothing to find"
    assert said["overall"]["best"] == {
        "threshold": 0.6, "precision": 3 / 5, "recall": 1.0, "f1": 0.75,
    }  # fmt: skip


def test_of_equal_f1_the_higher_threshold_is_best():
    """One right of three boxes gives 1/2; so do two right ones with three wrong between them."""
    things = [Thing(image, 1, HERE) for image in (1, 2, 3)]
    found = [
        Found(1, 1, HERE, 0.9),  # 2 / (1 + 3)
        Found(1, 1, THERE, 0.8),
        Found(2, 1, THERE, 0.7),
        Found(3, 1, THERE, 0.6),
        Found(2, 1, HERE, 0.5),  # 4 / (5 + 3)
    ]
    assert described(Scene(things, found))["per_category"][0]["best"] == {
        "threshold": 0.9, "precision": 1.0, "recall": 1 / 3, "f1": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("things", [[], [Thing(1, 1, HERE)]])
def test_no_detections_have_no_best_threshold(things: list[Thing]):
    said = described(Scene(things, []))["overall"]
    assert said["best"] is None
    assert set(said["precision"]) == {-1.0}
    assert set(said["f1"]) == {0.0 if things else -1.0}
