import math
from dataclasses import replace
from typing import get_args

import pytest
import torch

from fcos_core import FCOS, build_model
from fcos_core.config import (
    BackboneConfig,
    BackboneName,
    config_from_dict,
    config_to_dict,
    preset_config,
)
from fcos_core.errors import ConfigError
from tests.fcos_core.models import small_config, small_model


@pytest.mark.parametrize("name", get_args(BackboneName))
def test_every_backbone_has_outputs_at_strides_8_16_and_32(name):
    with torch.device("meta"):
        config = replace(small_config(), backbone=BackboneConfig(name=name, fpn_channels=32))
        model = FCOS(config)
        features = model.backbone(torch.zeros(1, 3, 256, 320))
    assert [tuple(f.shape[1:]) for f in features.values()] == [
        (32, 32, 40),
        (32, 16, 20),
        (32, 8, 10),
        (32, 4, 5),
        (32, 2, 3),
    ]


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "mobilenet_v3_large"])
def test_a_narrow_backbone_has_fewer_parameters_under_the_same_names(name):
    def build(width):
        return FCOS(
            replace(
                small_config(), backbone=BackboneConfig(name=name, width=width, fpn_channels=32)
            )
        )

    whole, half = build(1.0), build(0.5)
    assert whole.state_dict().keys() == half.state_dict().keys()
    count = {m: sum(p.numel() for p in m.backbone.body.parameters()) for m in (whole, half)}
    assert count[half] < 0.4 * count[whole]


def test_a_bottleneck_backbone_cannot_be_narrowed():
    with pytest.raises(ConfigError, match=r"backbone resnet50: width 0.5, only 1 is possible"):
        FCOS(replace(small_config(), backbone=BackboneConfig(name="resnet50", width=0.5)))


def test_the_torchvision_preset_has_its_319_names_and_shapes():
    from torchvision.models.detection import fcos_resnet50_fpn

    expected = {
        name: value.shape
        for name, value in fcos_resnet50_fpn(weights=None, weights_backbone=None)
        .state_dict()
        .items()
        if not name.endswith("num_batches_tracked")
    }
    ours = {
        name: value.shape for name, value in build_model("torchvision", 91).state_dict().items()
    }
    assert len(expected) == 319
    assert ours == expected


def test_presets_differ_where_the_implementations_differ():
    paper, improved, torchvision = (
        preset_config(n, 80) for n in ("paper", "improved", "torchvision")
    )
    assert (paper.head.centerness_on, improved.head.centerness_on) == (
        "classification",
        "regression",
    )
    assert (paper.head.distance_activation, improved.head.distance_activation) == ("exp", "relu")
    assert (paper.encoding.center_radius, improved.encoding.center_radius) == (None, 1.5)
    assert (paper.loss.box_loss, improved.loss.box_loss) == ("iou", "giou")
    assert torchvision.encoding.range_ends == "open"
    assert torchvision.encoding.location_offset == "zero"
    assert not torchvision.head.is_scaled_per_level
    state = small_model("paper").state_dict()
    assert "head.scales" in state
    assert "head.classification_head.bbox_ctrness.weight" in state


@pytest.mark.parametrize("preset", ["paper", "improved", "torchvision"])
def test_a_config_is_the_same_after_json(preset):
    import json

    config = preset_config(preset, 7, "resnet34")
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "yolo"}, "preset 'yolo'"),
        ({"num_classes": 0}, "num_classes 0"),
        ({"head": {"num_towers": 3}}, "HeadConfig has no 'num_towers'"),
        ({"backbone": {"name": "vgg16"}}, "vgg16"),
        ({"heads": {}}, "heads"),
    ],
)
def test_a_setting_out_of_its_limits_is_named(change, message):
    values = {**config_to_dict(preset_config("improved", 3)), **change}
    with pytest.raises(ConfigError, match=message):
        config_from_dict(values)


def test_the_first_scores_are_the_prior_everywhere():
    model = FCOS(small_config())
    with torch.no_grad():
        model.head.classification_head.cls_logits.weight.zero_()
        logits = model(torch.randn(1, 3, 64, 64)).cls_logits
    torch.testing.assert_close(
        torch.sigmoid(logits), torch.full_like(logits, 0.01), rtol=1e-4, atol=0
    )


def test_per_level_scales_multiply_the_raw_distances():
    model = small_model("paper")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(images)
        model.head.scales[0] = 2.0
        after = model(images)
    first = before.level_shapes[0][0] * before.level_shapes[0][1]
    # exp(2 x) is the square of exp(x); the other levels stay.
    torch.testing.assert_close(
        after.distances[:, :first], before.distances[:, :first] ** 2, rtol=1e-4, atol=0
    )
    assert torch.equal(after.distances[:, first:], before.distances[:, first:])


def test_distances_in_pixels_or_strides_follow_the_config():
    for preset, expected in (("paper", 1.0), ("improved", 8.0)):
        model = small_model(preset)
        images = torch.randn(1, 3, 64, 64)
        grid = model.grid(images, model(images))
        assert model.distance_unit_px(grid)[0] == expected
    assert math.isclose(grid.strides.max().item(), 128)


def test_a_number_of_categories_other_than_that_of_classes_is_refused():
    with pytest.raises(ConfigError, match="2 categories, 3 classes"):
        FCOS(small_config(), small_model().categories[:2])
