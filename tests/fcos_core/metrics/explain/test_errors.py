"""Each false positive has the error TIDE gives it, and mending gives back what it should."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.coco import evaluate_boxes, of_category
from fcos_core.metrics.explain import errors, gains
from fcos_core.metrics.explain.errors import Verdict
from fcos_core.metrics.explain.gains import Oracle
from tests.fcos_core.metrics.explain.scenes import (
    SETTINGS,
    Found,
    Scene,
    Thing,
    random_scene,
)
from tests.fcos_core.metrics.explain.tide_in_loops import LoopTide

SEEDS = st.integers(0, 2**32 - 1)
HERE, THERE = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 40.0, 40.0)
BESIDE = (20.0, 0.0, 40.0, 40.0)  # IoU 1/3 with HERE
EMPTY = (0.0, 200.0, 40.0, 40.0)


def measured(scene: Scene, num_blocks: int = 1) -> list[gains.CategoryGains]:
    blocks = scene.blocks(num_blocks)
    matches = [block.packed(scene.images) for block in blocks]
    parts = [
        errors.classify(b.truth, b.detections, b.matches(), scene.ids, SETTINGS) for b in blocks
    ]
    return [
        gains.measure(of_category(matches, k), errors.of_category(parts, matches, k), SETTINGS)
        for k in range(len(scene.categories))
    ]


def described(scene: Scene) -> dict[str, Any]:
    return gains.describe(measured(scene), scene.categories)


def counts(scene: Scene) -> dict[str, int]:
    return {name: n for name, n in described(scene)["counts"].items() if n}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        pytest.param([Found(1, 4, THERE, 0.9)], {"cls": 1, "found": 1}, id="wrong class"),
        pytest.param(
            [Found(1, 1, (120.0, 0.0, 40.0, 40.0), 0.9)], {"loc": 1, "found": 1}, id="badly placed"
        ),
        pytest.param(
            [Found(1, 4, (120.0, 0.0, 40.0, 40.0), 0.9)],
            {"both": 1, "found": 1, "miss": 1},
            id="badly placed and wrong class",
        ),
        pytest.param([Found(1, 1, HERE, 0.4)], {"dupe": 1, "found": 1, "miss": 1}, id="duplicate"),
        pytest.param([Found(1, 1, EMPTY, 0.9)], {"bkg": 1, "found": 1, "miss": 1}, id="nothing"),
        pytest.param([], {"found": 1, "miss": 1}, id="missed"),
        pytest.param(
            [Found(1, 7, (200.0, 0.0, 10.0, 10.0), 0.9)],
            {"ignored": 1, "found": 1, "miss": 1},
            id="in a crowd of its class",
        ),
        pytest.param(
            [Found(1, 1, (200.0, 0.0, 10.0, 10.0), 0.9)],
            {"bkg": 1, "found": 1, "miss": 1},
            id="in a crowd of another class",
        ),
        pytest.param(
            [Found(1, 9, THERE, 0.9)], {"found": 1, "miss": 1}, id="class that is not scored"
        ),
    ],
)
def test_an_image_with_one_error(wrong: list[Found], expected: dict[str, int]):
    things = [Thing(1, 1, HERE), Thing(1, 1, THERE), Thing(1, 7, (180.0, 0.0, 90.0, 90.0), True)]  # noqa: FBT003
    assert counts(Scene(things, [Found(1, 1, HERE, 0.5), *wrong])) == expected


@pytest.mark.parametrize(
    ("width", "category", "name"),
    [
        pytest.param(100.0, 1, "loc", id="own 0.1 is badly placed"),
        pytest.param(100.0, 4, "bkg", id="other 0.1 is background"),
        pytest.param(99.0, 4, "both", id="other above 0.1"),
        pytest.param(20.0, 4, "cls", id="other 0.5 is the wrong class"),
        pytest.param(20.5, 4, "both", id="other below 0.5"),
    ],
)
def test_ends_of_the_intervals(width: float, category: int, name: str):
    thing = Thing(1, 1, (0.0, 0.0, 10.0, 10.0))
    found = Found(1, category, (0.0, 0.0, width, 10.0), 0.5)
    assert counts(Scene([thing], [found]))[name] == 1


def test_a_badly_placed_detection_on_another_class_is_badly_placed():
    things = [Thing(1, 1, HERE), Thing(1, 4, BESIDE)]
    assert counts(Scene(things, [Found(1, 1, BESIDE, 0.5)])) == {"loc": 1, "miss": 1}


def test_mending_each_kind_of_error_gives_back_what_paper_and_pencil_say():
    """Two boxes, one found behind an error: AP50 is 1/2 up to recall 1/2, so 51/101 of 1/2."""
    things = [Thing(1, 1, HERE), Thing(1, 1, THERE)]

    def regained(*wrong: Found) -> dict[str, float]:
        scene = Scene(things, [Found(1, 1, HERE, 0.5), *wrong])
        return described(scene)["per_category"][0]["dap"]

    half = 51 / 101
    background = regained(Found(1, 1, EMPTY, 0.9))
    assert background["bkg"] == pytest.approx(half / 2), "behind it precision is 1"
    assert background["miss"] == pytest.approx(1 / 2 - half / 2), "precision 1/2 at all recalls"
    assert background["cls"] == background["loc"] == background["both"] == background["dupe"] == 0
    placed = regained(Found(1, 1, (120.0, 0.0, 40.0, 40.0), 0.9))
    assert placed["loc"] == pytest.approx(1 - half / 2), "both boxes are found"
    assert placed["miss"] == 0, "the badly placed detection means the second box"
    named = regained(Found(1, 4, THERE, 0.9))
    assert named["cls"] == pytest.approx(1 - half), "found in the category it is given to"
    duplicate = regained(Found(1, 1, HERE, 0.9), Found(1, 1, THERE, 0.1))
    assert duplicate["dupe"] == pytest.approx(1 - (half + 50 / 101 * 2 / 3))


def test_a_spoiled_published_results_file_has_the_errors_that_tidecv_counts(shared_data: Path):
    """Counted with tidecv 1.0.1, without crowds: it gives errors to what it ignores, too."""
    folder = shared_data / "coco_results"
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    categories = [category["id"] for category in dataset["categories"]]
    found: list[Found] = []
    for n, result in enumerate(results):
        x, y, width, height = result["bbox"]
        moved = (x + width * (n % 10) / 10, y, width, height) if n % 3 == 0 else result["bbox"]
        category = categories[n % len(categories)] if n % 5 == 0 else result["category_id"]
        found.append(Found(result["image_id"], category, moved, result["score"]))
        if n % 4 == 0:
            found.append(
                Found(
                    result["image_id"], result["category_id"], result["bbox"], result["score"] / 2
                )
            )
    things = [
        Thing(a["image_id"], a["category_id"], a["bbox"])
        for a in dataset["annotations"]
        if not a["iscrowd"]
    ]

    assert counts(Scene(things, found, tuple(sorted(categories)))) == {
        "found": 478, "cls": 199, "loc": 79, "both": 35, "dupe": 107, "bkg": 20, "miss": 160,
    }  # fmt: skip


def test_of_two_errors_that_mean_one_box_the_worse_is_removed():
    things = [Thing(1, 1, HERE)]
    wrong = [Found(1, 1, BESIDE, 0.4), Found(1, 1, BESIDE, 0.8), Found(1, 4, HERE, 0.1)]
    [first, *_] = measured(Scene(things, wrong))
    assert first.verdicts[Verdict.LOC] == 2
    assert first.precision[Oracle.LOC].mean() == pytest.approx(1.0)
    assert first.precision[Oracle.CLS].mean() == pytest.approx(1 / 3), "behind both of its own"


@given(seed=SEEDS)
@settings(max_examples=30)
def test_mending_nothing_is_coco_and_mending_never_costs(seed: int):
    scene = random_scene(seed)
    metrics = evaluate_boxes(scene.truth, scene.detections, category_ids=scene.categories)

    whole = measured(scene)
    numbers = gains.describe(whole, scene.categories)

    assert numbers["ap50"] == metrics.overall["AP50"]
    for k, own in enumerate(whole):
        assert np.array_equal(own.precision[Oracle.NONE], metrics.curves.precision[0, :, k, 0, -1])
    for part in (numbers, *numbers["per_category"]):
        is_undefined = part["ap50"] == -1
        regained = [*part["dap"].values(), *part["dap_special"].values()]
        assert all(value == -1 if is_undefined else value >= 0 for value in regained)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


@given(seed=SEEDS)
@settings(max_examples=20)
def test_blocks_in_any_order_give_the_same_bits(seed: int):
    scene = random_scene(seed)
    whole = gains.describe(measured(scene), scene.categories)
    assert gains.describe(measured(scene, num_blocks=3), scene.categories) == whole


@given(seed=SEEDS)
@settings(max_examples=30)
def test_errors_and_gains_are_those_of_plain_loops(seed: int):
    scene = random_scene(seed)
    for own, expected in zip(measured(scene), LoopTide(scene).categories(), strict=True):
        assert own.num_boxes == expected["boxes"]
        assert own.num_missed == expected["missed"]
        assert {v.name: n for v, n in zip(Verdict, own.verdicts.tolist(), strict=True) if n} == (
            expected["verdicts"]
        )
        for oracle, precision in expected["precision"].items():
            assert own.precision[oracle] == pytest.approx(precision, abs=1e-12), oracle


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(Scene([], []), id="nothing"),
        pytest.param(Scene([], [Found(1, 1, HERE, 0.5)]), id="no boxes"),
        pytest.param(Scene([Thing(1, 1, HERE)], []), id="no detections"),
        pytest.param(Scene([Thing(1, 1, HERE)], [Found(2, 1, HERE, 0.5)]), id="apart"),
    ],
)
def test_empty_sides(scene: Scene):
    numbers = described(scene)
    assert numbers["ap50"] == (0.0 if scene.things else -1.0)
    assert numbers["counts"]["bkg"] == len(scene.found)
    assert numbers["counts"]["miss"] == len(scene.things)
    assert set(numbers["dap"].values()) == ({0.0} if scene.things else {-1.0})
