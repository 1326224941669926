"""Boxes are taken by falling score, whatever the category, and cells are counted."""

import json
from collections import Counter
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.explain import confusion
from tests.fcos_core.metrics.explain.scenes import (
    SETTINGS,
    Found,
    Scene,
    Thing,
    iou,
    random_scene,
    ranked,
)

HERE, THERE = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 40.0, 40.0)
EMPTY = (0.0, 200.0, 40.0, 40.0)


def tallied(scene: Scene, least_score: float = 0.5) -> confusion.Confusion:
    return confusion.tally(
        scene.truth,
        scene.detections,
        scene.matches(),
        scene.ids,
        SETTINGS,
        least_score=least_score,
    )


def cells(part: confusion.Confusion, scene: Scene) -> dict[tuple[int | None, int | None], int]:
    names = (*scene.categories, None)
    rows = zip(part.true.tolist(), part.predicted.tolist(), part.count.tolist(), strict=True)
    return {(names[true], names[predicted]): count for true, predicted, count in rows}


def loop_cells(scene: Scene, least_score: float):
    count: Counter[tuple[int | None, int | None]] = Counter()
    num_ignored = 0
    free = {
        g for g, t in enumerate(scene.things) if not t.is_crowd and t.category in scene.categories
    }
    for n in ranked(scene):
        of = scene.found[n]
        if of.score < least_score:
            continue
        near = [g for g in free if scene.things[g].image == of.image]
        near = [g for g in near if iou(of.box, scene.things[g]) >= 0.5]
        if near:
            box = max(
                near,
                key=lambda g: (
                    iou(of.box, scene.things[g]),
                    scene.things[g].category == of.category,
                    -g,
                ),
            )
            free.remove(box)
            count[scene.things[box].category, of.category] += 1
        elif any(
            t.is_crowd
            and (t.image, t.category) == (of.image, of.category)
            and iou(of.box, t) >= 0.5
            for t in scene.things
        ):
            num_ignored += 1
        else:
            count[None, of.category] += 1
    for g in free:
        count[scene.things[g].category, None] += 1
    return dict(count), num_ignored


@given(seed=st.integers(0, 2**32 - 1), least_score=st.sampled_from([0.0, 0.5, 0.6]))
@settings(max_examples=30)
def test_cells_are_those_of_plain_loops(seed: int, least_score: float):
    scene = random_scene(seed)
    part = tallied(scene, least_score)
    assert (cells(part, scene), part.num_ignored) == loop_cells(scene, least_score)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_blocks_add_up_and_totals_agree(seed: int):
    scene = random_scene(seed)
    whole = tallied(scene, 0.25).describe(scene.categories)
    assert reduce(add, [tallied(b, 0.25) for b in scene.blocks(3)]).describe(scene.categories) == (
        whole
    )
    assert whole["boxes"] == whole["correct"] + whole["confused"] + whole["missed"]
    for name in ("boxes", "correct", "confused", "missed", "background"):
        assert whole[name] == sum(row[name] for row in whole["per_category"])
    assert whole["confused"] == sum(row["taken_for"] for row in whole["per_category"])
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole


def test_worked_example_of_every_kind_of_cell():
    things = [Thing(1, 1, HERE), Thing(1, 4, THERE), Thing(2, 4, HERE), Thing(2, 7, THERE)]
    found = [
        Found(1, 1, HERE, 0.9),
        Found(1, 7, THERE, 0.8),
        Found(2, 7, HERE, 0.5),
        Found(2, 7, THERE, 0.4),
        Found(2, 1, EMPTY, 0.7),
    ]
    scene = Scene(things, found)

    said = tallied(scene).describe(scene.categories)

    assert cells(tallied(scene), scene) == {(1, 1): 1, (4, 7): 2, (7, None): 1, (None, 1): 1}
    assert said["top"] == [{"true": 4, "predicted": 7, "count": 2, "share": 1.0}]
    totals = {"boxes": 4, "correct": 1, "confused": 2, "missed": 1, "background": 1}
    assert {name: said[name] for name in totals} == totals
    assert said["per_category"][2] == {
        "category_id": 7, "boxes": 1, "correct": 0, "confused": 0, "missed": 1,
        "taken_for": 2, "background": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("things", "found", "expected"),
    [
        pytest.param(
            [Thing(1, 1, HERE)],
            [Found(1, 4, HERE, 0.9), Found(1, 1, HERE, 0.8)],
            {(1, 4): 1, (None, 1): 1},
            id="the better score takes the box, even by the wrong name",
        ),
        pytest.param(
            [Thing(1, 4, HERE), Thing(1, 1, HERE)],
            [Found(1, 1, HERE, 0.9)],
            {(1, 1): 1, (4, None): 1},
            id="of equal boxes one's own category",
        ),
        pytest.param(
            [Thing(1, 1, HERE), Thing(1, 4, (0.0, 0.0, 44.0, 40.0))],
            [Found(1, 1, (0.0, 0.0, 44.0, 40.0), 0.9)],
            {(4, 1): 1, (1, None): 1},
            id="the larger overlap before one's own category",
        ),
        pytest.param(
            [Thing(1, 1, HERE)],
            [Found(2, 1, HERE, 0.9)],
            {(1, None): 1, (None, 1): 1},
            id="another image",
        ),
        pytest.param([], [], {}, id="nothing"),
    ],
)
def test_who_takes_a_box(
    things: list[Thing],
    found: list[Found],
    expected: dict[tuple[int | None, int | None], int],
):
    scene = Scene(things, found)
    assert cells(tallied(scene), scene) == expected


def test_a_detection_in_a_crowd_of_its_category_is_ignored_and_else_background():
    crowd = Thing(1, 1, (0.0, 0.0, 100.0, 100.0), is_crowd=True)
    scene = Scene([crowd], [Found(1, 1, HERE, 0.9), Found(1, 4, HERE, 0.9)])
    part = tallied(scene)
    assert (cells(part, scene), part.num_ignored) == ({(None, 4): 1}, 1)
