import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.config import EncodingConfig, preset_config
from fcos_core.errors import AnnotationError
from fcos_core.structures import BACKGROUND, GroundTruth
from fcos_core.targets import assign, centerness, encode
from tests.fcos_core.reference import slow_assign
from tests.fcos_core.test_locations import grid_of

ONE_LEVEL = EncodingConfig(strides=(20,), size_ranges=((-1.0, math.inf),), center_radius=None)
PRESETS = ("paper", "improved", "torchvision")


def truth(*boxes, labels=None):
    labels = list(range(len(boxes))) if labels is None else labels
    return GroundTruth(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
    )


def box_at(x_min, y_min, width, height):
    return (x_min, y_min, x_min + width, y_min + height)


def test_ltrb_label_and_centerness_of_a_box_computed_by_hand():
    # Cell (row 2, column 2) of the 6 x 8 map stands for (50, 50). The box is 30, 20 to 130, 100:
    # l = 20, t = 30, r = 80, b = 50 and centre-ness sqrt(20/80 * 30/50) = sqrt(0.15).
    grid = grid_of(120, 160, ONE_LEVEL)
    targets = encode([truth((30, 20, 130, 100), labels=[4])], grid, ONE_LEVEL)
    cell = 2 * 8 + 2
    assert targets.labels[0, cell] == 4
    assert targets.boxes[0, cell].tolist() == [30, 20, 130, 100]
    assert targets.centerness[0, cell].item() == pytest.approx(math.sqrt(0.15), abs=1e-6)
    # Inside are columns 2..5 (x 50..110) and rows 1..4 (y 30..90); x = 30 lies on the side, so
    # outside.
    inside = (targets.labels[0].reshape(6, 8) == 4).nonzero().tolist()
    assert inside == [[row, column] for row in (1, 2, 3, 4) for column in (2, 3, 4, 5)]


def test_smallest_box_wins_when_two_contain_a_location():
    grid = grid_of(120, 160, ONE_LEVEL)
    large, small = (0, 0, 160, 120), (41, 41, 79, 79)
    for boxes, small_index in (((large, small), 1), ((small, large), 0)):
        labels = encode([truth(*boxes)], grid, ONE_LEVEL).labels[0].reshape(6, 8)
        assert labels[2, 2] == small_index
        assert labels[0, 0] == 1 - small_index


def test_the_first_of_two_equal_boxes_wins():
    grid = grid_of(120, 160, ONE_LEVEL)
    matched = assign(torch.tensor([(0.0, 0, 100, 100), (0, 0, 100, 100)]), grid, ONE_LEVEL)
    assert set(matched.tolist()) == {0, BACKGROUND}


def test_torchvisions_matcher_never_learns_a_box_of_a_hundred_million_pixels():
    config = preset_config("torchvision", 91).encoding
    grid = grid_of(128, 128, config)
    assert set(assign(torch.tensor([[-5e3, -5e3, 5.1e3, 5.1e3]]), grid, config).tolist()) == {-1}
    assert 0 in assign(torch.tensor([[-4e3, -4e3, 4e3, 4e3]]), grid, config)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [pytest.param("closed", [0, 1], id="P3 and P4"), pytest.param("open", [], id="neither")],
)
def test_a_distance_of_exactly_64_belongs_to_both_levels_or_none(ends, expected):
    config = replace(
        preset_config("paper", 80).encoding,
        range_ends=ends,
        strides=(8, 16),
        size_ranges=((0.0, 64.0), (64.0, 128.0)),
    )
    grid = grid_of(128, 128, config)
    # The P3 location (60, 60) and the P4 location (56, 56), each with a longest distance of exactly
    # 64.
    found = []
    for level, center in ((0, 60), (1, 56)):
        box = torch.tensor([[center - 32.0, center - 32, center + 64, center + 32]])
        index = int((grid.points == center).all(dim=1).nonzero()[0])
        assert grid.strides[index] == 8 * 2**level
        if assign(box, grid, config)[index] == 0:
            found.append(level)
    assert found == expected


def test_float32_areas_tie_within_8_square_pixels_and_exact_ones_do_not():
    # FCOS in torchvision ranks by 1e8 - area in float32: areas 1003 and 1000 tie, the first wins.
    boxes = torch.tensor([(0.0, 0, 34, 29.5), (0.0, 0, 40, 25)])
    config = replace(ONE_LEVEL, strides=(8,))
    grid = grid_of(64, 64, config)
    exact = assign(boxes, grid, config)
    rounded = assign(boxes, grid, replace(config, area_rule="float32"))
    both = int((grid.points == torch.tensor([12.0, 12.0])).all(dim=1).nonzero()[0])
    assert exact[both] == 1
    assert rounded[both] == 0


def test_centre_sampling_takes_only_locations_within_the_radius():
    config = replace(ONE_LEVEL, strides=(8,), center_radius=1.5)
    grid = grid_of(128, 128, config)
    matched = assign(torch.tensor([(0.0, 0, 128, 128)]), grid, config)
    points = grid.points[matched == 0]
    # |x - 64| < 12 holds for 52 < x < 76: the locations 60 and 68.
    assert sorted({int(x) for x in points[:, 0]}) == [60, 68]
    assert len(points) == 4


def test_an_image_without_boxes_has_background_everywhere():
    for preset in PRESETS:
        config = preset_config(preset, 80).encoding
        targets = encode([truth(), truth((0, 0, 30, 30))], grid_of(64, 64, config), config)
        assert (targets.labels[0] == BACKGROUND).all()
        assert (targets.centerness[0] == 0).all()
        assert (targets.labels[1] == 0).any()


def test_centerness_is_one_in_the_middle_and_never_nan():
    ltrb = torch.tensor(
        [[5.0, 5, 5, 5], [0, 0, 0, 0], [-1, 2, 3, 4], [0, 5, 10, 5], [1e-30, 1, 1, 1]]
    )
    values = centerness(ltrb)
    assert values[0] == 1
    assert values[1:4].tolist() == [0, 0, 0]
    assert torch.isfinite(values).all()


coordinates = st.integers(-20, 300).map(lambda v: v / 2)
sides = st.one_of(st.integers(1, 40), st.integers(1, 600)).map(lambda v: v / 2)
boxes_strategy = st.lists(
    st.builds(box_at, coordinates, coordinates, sides, sides), min_size=0, max_size=6
)


@given(boxes=boxes_strategy, preset=st.sampled_from(["paper", "improved"]))
def test_assignment_equals_the_slow_loop(boxes, preset):
    config = preset_config(preset, 80).encoding
    grid = grid_of(160, 192, config)
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    assert assign(tensor, grid, config).tolist() == slow_assign(tensor, grid, config)


@given(boxes=boxes_strategy)
def test_flipping_image_and_boxes_flips_the_targets(boxes):
    # Locations at half a stride are symmetric in a padded width that is a multiple of 128.
    config = preset_config("improved", 80).encoding
    grid = grid_of(128, 128, config)
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    flipped = tensor.clone()
    flipped[:, [0, 2]] = 128 - tensor[:, [2, 0]]
    labels = torch.arange(len(boxes))
    straight = encode([GroundTruth(tensor, labels)], grid, config)
    mirrored = encode([GroundTruth(flipped, labels)], grid, config)
    start = 0
    for stride, count in zip(config.strides, grid.num_per_level, strict=True):
        side = 128 // stride
        level = slice(start, start + count)
        expected = straight.labels[0, level].reshape(side, side).flip(1)
        assert torch.equal(mirrored.labels[0, level].reshape(side, side), expected)
        start += count


@pytest.mark.parametrize(
    ("box", "label", "message"),
    [
        ((10, 0, 10, 5), 0, "image 42, box 0: x_max 10 <= x_min 10"),
        ((0, 9, 10, 5), 0, "image 42, box 0: y_max 5 <= y_min 9"),
        ((0, 0, math.nan, 5), 0, "is not finite"),
        ((0, 0, 10, 5), 3, r"label 3, must be in \[0, 3\)"),
    ],
)
def test_a_box_that_cannot_be_learnt_is_named(box, label, message):
    with pytest.raises(AnnotationError, match=message):
        truth(box, labels=[label]).check("image 42", 3)
