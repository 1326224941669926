import math
from dataclasses import replace

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss
from torchvision.ops import sigmoid_focal_loss as torchvision_focal_loss

from fcos_core.config import LossConfig
from fcos_core.losses import box_loss, sigmoid_focal_loss
from fcos_core.structures import GroundTruth
from tests.fcos_core.models import small_config, small_model


def random_boxes(count):
    corner = torch.rand(count, 2) * 100
    return torch.cat([corner, corner + torch.rand(count, 2) * 80 + 0.1], dim=1)


def test_focal_loss_equals_torchvisions():
    logits, positive = torch.randn(50, 7) * 4, (torch.rand(50, 7) < 0.1).float()
    ours = sigmoid_focal_loss(logits, positive, alpha=0.25, gamma=2.0)
    theirs = torchvision_focal_loss(logits, positive, alpha=0.25, gamma=2.0, reduction="sum")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_giou_loss_equals_torchvisions():
    boxes, others = random_boxes(200), random_boxes(200)
    ours = box_loss(boxes, others, LossConfig(box_loss="giou"))
    theirs = generalized_box_iou_loss(boxes, others, reduction="none")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_iou_loss_of_a_pair_computed_by_hand():
    # Overlap 5 x 10 = 50, union 100 + 100 - 50 = 150: -log(51 / 151) with the authors' +1.
    loss = box_loss(
        torch.tensor([[0.0, 0, 10, 10]]),
        torch.tensor([[5.0, 0, 15, 10]]),
        LossConfig(box_loss="iou"),
    )
    assert loss.item() == pytest.approx(-math.log(51 / 151), abs=1e-6)
    same = torch.tensor([[3.0, 4, 30, 40]])
    assert box_loss(same, same, LossConfig(box_loss="iou")).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("preset", ["paper", "improved", "torchvision"])
def test_an_image_without_boxes_costs_only_classification(preset):
    model = small_model(preset).train()
    empty = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    losses = model.losses(torch.randn(2, 3, 64, 64), [empty, empty])
    assert losses.classification > 0
    assert losses.box == 0
    assert losses.centerness == 0
    losses.total().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_an_empty_image_beside_a_full_one_changes_only_classification():
    model = small_model("torchvision").eval()
    images = torch.randn(2, 3, 64, 64)
    full = GroundTruth(torch.tensor([[5.0, 5, 50, 50]]), torch.tensor([1]))
    empty = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    alone, together = model.losses(images[:1], [full]), model.losses(images, [full, empty])
    torch.testing.assert_close(alone.box, together.box, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alone.centerness, together.centerness, rtol=1e-5, atol=1e-6)
    assert together.classification > alone.classification


def test_passing_the_number_of_positives_divides_by_it():
    model = small_model("torchvision").eval()
    images = torch.randn(1, 3, 64, 64)
    full = GroundTruth(torch.tensor([[5.0, 5, 50, 50]]), torch.tensor([1]))
    own = model.losses(images, [full])
    tenfold = model.losses(images, [full], num_positives=torch.tensor(1e3))
    ratio = own.centerness / tenfold.centerness
    torch.testing.assert_close(own.box / tenfold.box, ratio, rtol=1e-4, atol=0)
    assert ratio > 1


def test_the_centerness_weighted_loss_follows_the_papers_formula():
    config = small_config("improved")
    model = small_model("improved").eval()
    images = torch.randn(1, 3, 64, 64)
    full = GroundTruth(torch.tensor([[5.0, 5, 50, 50]]), torch.tensor([1]))
    weighted = model.losses(images, [full]).box
    model.config = replace(config, loss=replace(config.loss, is_box_loss_centerness_weighted=False))
    plain = model.losses(images, [full]).box
    assert weighted != plain
    assert 0 < weighted < 2
