import math

import pytest
import torch

from fcos_core.config import EncodingConfig, preset_config
from fcos_core.locations import level_sizes, location_grid

CPU = torch.device("cpu")
STRIDES = (8, 16, 32, 64, 128)


def grid_of(height, width, config):
    rows, columns = level_sizes(height, config.strides), level_sizes(width, config.strides)
    return location_grid((height, width), tuple(zip(rows, columns, strict=True)), config, CPU)


def test_stride_20_on_160_by_120_gives_an_8_by_6_map():
    config = EncodingConfig(strides=(20,), size_ranges=((-1.0, math.inf),))
    assert level_sizes(160, (20,)) == (8,)
    assert level_sizes(120, (20,)) == (6,)
    grid = grid_of(120, 160, config)
    assert grid.num_per_level == (48,)
    assert grid.points[0].tolist() == [10, 10]
    assert grid.points[1].tolist() == [30, 10]
    assert grid.points[8].tolist() == [10, 30]
    assert grid.points[-1].tolist() == [150, 110]


def test_an_800_by_1024_input_has_the_papers_maps():
    assert level_sizes(800, STRIDES) == (100, 50, 25, 13, 7)
    assert level_sizes(1024, STRIDES) == (128, 64, 32, 16, 8)


def test_the_maps_of_the_network_have_the_level_sizes():
    from tests.fcos_core.models import small_model

    with torch.inference_mode():
        outputs = small_model()(torch.zeros(1, 3, 800, 1024))
    assert outputs.level_shapes == ((100, 128), (50, 64), (25, 32), (13, 16), (7, 8))


def test_torchvision_steps_are_floored_on_p6_and_p7():
    grid = grid_of(800, 1088, preset_config("torchvision", 91).encoding)
    per_level = grid.points.split(list(grid.num_per_level))
    # 800 // 13 = 61, 1088 // 17 = 64; 800 // 7 = 114, 1088 // 9 = 120.
    assert per_level[3][0].tolist() == [0, 0]
    assert per_level[3][1].tolist() == [64, 0]
    assert per_level[3][17].tolist() == [0, 61]
    assert per_level[4][1].tolist() == [120, 0]
    assert per_level[4][9].tolist() == [0, 114]
    assert grid.strides.unique().tolist() == [8, 16, 32, 64, 128]


@pytest.mark.parametrize("shape", [(800, 1088), (800, 1344), (768, 1024), (32, 64)])
def test_torchvision_locations_equal_its_anchor_centres(shape):
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    config = preset_config("torchvision", 91).encoding
    shapes = list(
        zip(
            level_sizes(shape[0], config.strides),
            level_sizes(shape[1], config.strides),
            strict=True,
        )
    )
    generator = AnchorGenerator(tuple((s,) for s in config.strides), ((1.0,),) * 5)
    images = ImageList(torch.zeros(1, 3, *shape), [shape])
    (anchors,) = generator(images, [torch.zeros(1, 1, *s) for s in shapes])
    grid = grid_of(*shape, config)
    torch.testing.assert_close((anchors[:, :2] + anchors[:, 2:]) / 2, grid.points, rtol=0, atol=0)
    torch.testing.assert_close(anchors[:, 2] - anchors[:, 0], grid.strides, rtol=0, atol=0)
