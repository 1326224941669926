"""What is said of COCO's curves has COCO's numbers as its means."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.coco import Curves, evaluate_boxes
from fcos_core.metrics.explain import curves, recall
from tests.fcos_core.metrics.explain.scenes import SETTINGS, Found, Scene, Thing, random_scene

HERE = (0.0, 0.0, 40.0, 40.0)
AREA_SUFFIXES = {"small": "s", "medium": "m", "large": "l"}


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_means_are_the_twelve_numbers(seed: int):
    scene = random_scene(seed)
    metrics = evaluate_boxes(scene.truth, scene.detections, category_ids=scene.categories)

    said = curves.describe(metrics.curves, scene.categories, SETTINGS)
    recalls = recall.describe(metrics.curves, scene.categories, SETTINGS)

    for category_id, own in ((row["category_id"], row) for row in said["per_category"]):
        numbers = metrics.per_category[category_id]
        assert np.mean(own["iou_50"]) == pytest.approx(numbers["AP50"], abs=1e-12)
        assert np.mean(own["iou_75"]) == pytest.approx(numbers["AP75"], abs=1e-12)
        assert np.mean(own["iou_mean"]) == pytest.approx(numbers["AP"], abs=1e-12)
    if said["per_category"]:
        assert np.mean(said["overall"]["iou_50"]) == pytest.approx(metrics.overall["AP50"])
    tables = [(recalls["overall"], metrics.overall)]
    tables += [(row, metrics.per_category[row["category_id"]]) for row in recalls["per_category"]]
    for table, numbers in tables:
        assert [table["all"][m] for m in ("1", "10", "100")] == [
            numbers[name] for name in ("AR1", "AR10", "AR100")
        ]
        for area, suffix in AREA_SUFFIXES.items():
            assert table[area]["100"] == numbers[f"AR{suffix}"]
    assert json.loads(json.dumps([said, recalls], allow_nan=False)) == [said, recalls]


def test_a_box_found_with_iou_one_half_is_on_the_first_curve_alone():
    found = Found(1, 4, (0.0, 0.0, 40.0, 80.0), 0.9)
    scene = Scene([Thing(1, 4, HERE)], [found])
    metrics = evaluate_boxes(scene.truth, scene.detections, category_ids=scene.categories)

    said = curves.describe(metrics.curves, scene.categories, SETTINGS)

    [only] = said["per_category"]
    assert only["category_id"] == 4, "categories without boxes are left out"
    assert only["iou_50"] == pytest.approx([1.0] * 101)
    assert only["iou_75"] == [0.0] * 101
    assert only["iou_mean"] == pytest.approx([0.1] * 101)
    assert said["overall"] == {name: only[name] for name in ("iou_50", "iou_75", "iou_mean")}
    table = recall.describe(metrics.curves, scene.categories, SETTINGS)["overall"]
    assert table["medium"] == {"1": 0.1, "10": 0.1, "100": 0.1}
    assert table["small"] == {"1": -1.0, "10": -1.0, "100": -1.0}


def test_without_boxes_there_are_no_curves():
    said = curves.describe(Curves.undefined(3, SETTINGS), (1, 4, 7), SETTINGS)
    assert said["overall"] == {"iou_50": [], "iou_75": [], "iou_mean": []}
    assert said["per_category"] == []
