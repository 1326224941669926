import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fcos_core import FCOS, GroundTruth, Predictor
from fcos_core.errors import ConfigError, DataError
from fcos_core.training import (
    OptimizationConfig,
    Trainer,
    TrainingBatch,
    TrainingExample,
    rate_factor,
)
from fcos_core.training.freezing import backbone_stages
from tests.fcos_core.models import small_config

CPU = torch.device("cpu")


def example(x, y, side, *, size=64):
    image = np.full((size, size, 3), 40, dtype=np.uint8)
    image[y : y + side, x : x + side] = (220, 60, 60)
    boxes = torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32)
    return TrainingExample(image, GroundTruth(boxes, torch.tensor([1])), f"square at {x}, {y}")


def batch_of(*examples):
    return TrainingBatch.of(examples, small_config("improved", 2).input)


EXAMPLES = [example(8, 8, 24), example(32, 20, 24), example(20, 32, 30), example(6, 30, 28)]


def trainer(**settings):
    torch.manual_seed(0)
    model = FCOS(small_config("improved", 2))
    defaults = {"num_steps": 60, "learning_rate": 3e-3, "warmup_steps": 5, "average_decay": 0.5}
    return Trainer(model, OptimizationConfig(**(defaults | settings)), CPU)


def test_a_few_steps_learn_a_few_images():
    loop = trainer()
    reports = [loop.step(batch_of(*EXAMPLES)) for _ in range(60)]
    assert reports[-1].total < 0.6 * reports[0].total
    (found,) = Predictor(loop.average, device="cpu")([EXAMPLES[0].image])
    assert found.labels[0] == 1
    truth = EXAMPLES[0].ground_truth.boxes[0]
    from torchvision.ops import box_iou

    assert box_iou(found.boxes[:1], truth[None]).item() > 0.7


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    first, second = trainer(), trainer()
    for loop in (first, second):
        for _ in range(3):
            loop.step(batch_of(*EXAMPLES))
    for name, value in first.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name]), name


def test_images_without_boxes_and_of_other_sizes_train_too():
    empty = TrainingExample(
        np.zeros((40, 90, 3), dtype=np.uint8),
        GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
        "empty",
    )
    report = trainer().step(batch_of(empty, EXAMPLES[0]))
    assert math.isfinite(report.total)
    assert trainer().step(batch_of(empty)).box == 0


def test_a_loss_that_is_not_finite_names_the_images():
    loop = trainer()
    with torch.no_grad():
        loop.model.head.regression_head.bbox_reg.bias.fill_(math.nan)
    with pytest.raises(DataError, match=r"step 0: losses .*square at 8, 8"):
        loop.step(batch_of(EXAMPLES[0]))


def test_the_rate_warms_up_linearly_and_follows_its_schedule():
    cosine = OptimizationConfig(num_steps=110, warmup_steps=10)
    assert rate_factor(0, cosine) == pytest.approx(0.1)
    assert rate_factor(9, cosine) == 1
    assert rate_factor(60, cosine) == pytest.approx(0.5)
    assert rate_factor(109, cosine) < 1e-3
    steps = replace(cosine, num_steps=90, warmup_steps=0, schedule="step")
    assert [rate_factor(i, steps) for i in (0, 59, 60, 79, 80)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )


def test_the_average_follows_the_weights_and_loses_the_start():
    loop = trainer(average_decay=0.998)
    for _ in range(30):
        loop.step(batch_of(*EXAMPLES))
    name = "head.regression_head.bbox_reg.weight"
    torch.manual_seed(0)
    start = FCOS(small_config("improved", 2)).state_dict()[name]
    now, average = loop.model.state_dict()[name], loop.average.state_dict()[name]
    assert (average - now).norm() < (start - now).norm()
    assert not torch.equal(average, now)


def test_settings_out_of_their_limits_are_named():
    for settings, message in (
        ({"num_steps": 0}, "num_steps 0"),
        ({"learning_rate": 0.0}, "learning_rate 0.0"),
        ({"average_decay": 1.0}, "average_decay 1.0"),
        ({"freeze_stages": 6}, "freeze_stages 6"),
    ):
        with pytest.raises(ConfigError, match=message):
            OptimizationConfig(**({"num_steps": 1} | settings))


@pytest.mark.parametrize("settings", [{"optimizer": "adamw"}, {"optimizer": "sgd"}], ids=str)
def test_a_restored_trainer_continues_bit_for_bit(settings):
    whole = trainer(**settings)
    reports = [whole.step(batch_of(*EXAMPLES)) for _ in range(6)]
    first = trainer(**settings)
    for _ in range(3):
        first.step(batch_of(*EXAMPLES))
    state = {name: value.clone() for name, value in first.state().items()}
    torch.manual_seed(5)
    later = Trainer(FCOS(small_config("improved", 2)), whole.config, CPU)
    later.load_state(state, num_done=3)
    assert [later.step(batch_of(*EXAMPLES)) for _ in range(3)] == reports[3:]
    for name, value in whole.state().items():
        assert torch.equal(value, later.state()[name]), name


def test_half_precision_keeps_its_loss_scale():
    loop = trainer(precision="fp16")
    loop.step(batch_of(*EXAMPLES))
    state = loop.state()
    assert state["scaler/scale"] > 1
    later = trainer(precision="fp16")
    later.load_state(state | {"scaler/scale": torch.tensor(64.0).double()}, num_done=1)
    later.step(batch_of(*EXAMPLES))
    assert later.state()["scaler/scale"] == 64


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_frozen_stages_keep_weights_and_statistics(backbone):
    config = small_config("improved", 2)
    config = replace(config, backbone=replace(config.backbone, name=backbone, width=0.5))
    loop = Trainer(FCOS(config), OptimizationConfig(num_steps=2, freeze_stages=2), CPU)
    stages = backbone_stages(loop.model)
    assert len(stages) == 5
    before = {name: value.clone() for name, value in loop.model.state_dict().items()}
    loop.step(batch_of(*EXAMPLES))
    frozen = {v.data_ptr() for stage in stages[:2] for m in stage for v in m.state_dict().values()}
    for name, value in loop.model.state_dict().items():
        is_same = torch.equal(before[name], value)
        assert is_same == (value.data_ptr() in frozen) or not value.is_floating_point(), name


def test_an_infinite_gradient_of_finite_losses_stops_too():
    loop = trainer()
    weight = loop.model.head.regression_head.bbox_reg.weight
    weight.register_hook(lambda gradient: gradient * math.inf)
    before = weight.detach().clone()
    with pytest.raises(DataError, match=r"step 0: gradient norm (inf|nan) on square at 8, 8"):
        loop.step(batch_of(EXAMPLES[0]))
    assert torch.equal(weight, before)
