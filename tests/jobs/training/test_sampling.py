from collections import Counter
from itertools import islice

import pytest

from fcos_core.config import InputConfig
from jobs.settings.train import TrainConfig
from jobs.training.sampling import plan_batches

INPUT = InputConfig(min_size_px=96, max_size_px=192)
LANDSCAPE, PORTRAIT = (60, 100), (100, 60)
SIZES = [LANDSCAPE, PORTRAIT, LANDSCAPE, LANDSCAPE, (80, 80), LANDSCAPE, PORTRAIT]


def config(**changes) -> TrainConfig:
    defaults = {"min_size": 96, "max_size": 192, "batch_size": 2, "steps": 70}
    return TrainConfig(images="i", annotations="a", out="o", **(defaults | changes))


def plans(sizes=SIZES, *, first_step=0, **changes):
    return list(plan_batches(sizes, config(**changes), INPUT, first_step=first_step))


def test_any_step_can_be_planned_again():
    whole = plans(min_sizes=(64, 96, 128))
    assert len(whole) == 70
    assert plans(min_sizes=(64, 96, 128), first_step=33) == whole[33:]
    assert plans(min_sizes=(64, 96, 128), seed=1) != whole


def test_a_batch_has_one_orientation_and_no_image_is_favoured():
    seen = Counter()
    for plan in plans():
        assert len({SIZES[i] == PORTRAIT for i in plan.indices}) == 1
        seen.update(plan.indices)
    # Seven images, 140 places: twenty each, but for what waits for company at the end.
    assert all(abs(seen[i] - 20) <= 1 for i in range(7))


def test_without_grouping_every_epoch_sees_every_image_once_in_another_order():
    stream = [i for plan in plans(group_by_orientation=False) for i in plan.indices]
    epochs = [tuple(stream[start : start + 7]) for start in range(0, 140, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(epochs)) > 1


def test_sizes_and_flips_are_drawn_anew_for_each_step():
    drawn = plans(min_sizes=(64, 96, 128), batch_size=1)
    assert {plan.min_size for plan in drawn} == {64, 96, 128}
    assert {plan.is_flipped for plan in drawn} == {(False,), (True,)}
    assert {plan.is_flipped for plan in plans(flip=False)} == {(False, False)}
    assert drawn[0].input(INPUT).min_size_px == drawn[0].min_size


def test_the_padded_shape_holds_every_image_of_the_whole_batch():
    # 60 x 100 becomes 96 x 160, 80 x 80 becomes 96 x 96.
    (plan,) = plans([LANDSCAPE, (80, 80)], steps=1)
    assert plan.padded_shape == (96, 160)
    (plan,) = plans([PORTRAIT, PORTRAIT], steps=1, min_sizes=(64,))
    assert plan.padded_shape == (128, 64)  # 106 x 64 before padding


def test_a_size_above_the_longest_side_is_refused():
    with pytest.raises(ValueError, match="a shorter side of 256 is above max_size 192"):
        config(min_sizes=(96, 256))


def test_a_step_far_into_a_training_is_found():
    later = plan_batches(SIZES * 100, config(steps=90_000, batch_size=16), INPUT, first_step=20_000)
    assert len(list(islice(later, 1))) == 1
