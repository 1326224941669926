"""The targets of one image are those that training learns and best possible recall counts."""

import numpy as np
import pytest

from fcos_core import target_maps as module
from fcos_core.metrics.bpr.rules import LocationRule, named_rule
from fcos_core.structures import BACKGROUND
from fcos_core.target_maps import ImageTargets, image_targets

RULES = ("paper", "paper-p4", "improved", "torchvision")


def location_rule(name: str) -> LocationRule:
    rule = named_rule(name)
    assert isinstance(rule, LocationRule)
    return rule


def random_targets(rule: str, seed: int, count: int) -> ImageTargets:
    """Boxes of all sizes, some outside of the image, without extent or on whole pixels."""
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(50, 900, 2))
    starts = rng.uniform(-0.1, 0.95, (count, 2)) * (width, height)
    sizes = 2.0 ** rng.uniform(-1, 9, (count, 2))
    boxes = np.concatenate([starts, sizes], axis=1)
    boxes[::3] = np.rint(boxes[::3])
    boxes[::7, 2:] = 0.0
    boxes[1::9] = boxes[0]
    return image_targets((height, width), boxes, rng.integers(0, 3, count), location_rule(rule))


def assert_agrees_with_counts(targets: ImageTargets):
    outcomes = targets.outcomes
    for number, level in enumerate(targets.levels):
        kept = np.bincount(level.matched[level.is_positive], minlength=len(targets.boxes))
        np.testing.assert_array_equal(kept, outcomes.num_kept[:, number])
    learned = np.zeros(len(targets.boxes), bool)
    for level in targets.levels:
        learned[level.matched[level.is_positive]] = True
    np.testing.assert_array_equal(learned, outcomes.is_recalled)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_each_box_is_learned_by_as_many_locations_as_are_counted(rule: str, seed: int):
    assert_agrees_with_counts(random_targets(rule, seed, 40))


def test_a_crowded_image_is_encoded_in_parts_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
):
    whole = random_targets("improved", 1, 30)
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 1000)
    parts = random_targets("improved", 1, 30)

    for a, b in zip(whole.levels, parts.levels, strict=True):
        np.testing.assert_array_equal(a.matched, b.matched)


def test_maps_are_what_paper_and_pencil_give():
    # 800 x 800 is not resized, and a legacy box ends at x + w - 1: 20 pixels to the left and right
    # of the location (404, 404) of P3, 30 above and below.
    targets = image_targets(
        (800, 800),
        np.array([[384.0, 374.0, 41.0, 61.0]]),
        np.zeros(1, np.int64),
        location_rule("improved"),
    )
    level = targets.levels[0]

    assert targets.resized_shape == targets.padded_shape == (800, 800)
    np.testing.assert_array_equal(targets.boxes, [[384, 374, 424, 434]])
    assert (level.x[50], level.y[50]) == (404, 404)
    # Less than 1.5 strides from the centre: one cell in each direction.
    np.testing.assert_array_equal(np.argwhere(level.is_positive).min(axis=0), [49, 49])
    np.testing.assert_array_equal(np.argwhere(level.is_positive).max(axis=0), [51, 51])
    assert level.centerness[50, 50] == 1
    np.testing.assert_allclose(level.centerness[50, 51], np.sqrt(12 / 28))
    np.testing.assert_allclose(level.centerness[49, 50], np.sqrt(22 / 38))
    assert targets.num_positive == 9


def test_without_boxes_everything_is_background():
    targets = image_targets(
        (60, 80), np.zeros((0, 4)), np.zeros(0, np.int64), location_rule("paper")
    )

    assert [level.name for level in targets.levels] == ["P3", "P4", "P5", "P6", "P7"]
    assert all((level.matched == BACKGROUND).all() for level in targets.levels)
    assert targets.num_positive == 0
    assert targets.num_locations == sum(level.matched.size for level in targets.levels)


def test_the_only_level_of_paper_p4_is_called_so():
    targets = random_targets("paper-p4", 0, 3)

    assert [(level.name, level.stride) for level in targets.levels] == [("P4", 16)]
