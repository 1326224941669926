import math
from dataclasses import replace

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss
from torchvision.ops import sigmoid_focal_loss as torchvision_focal_loss

from fcos_core.config import LossConfig
from fcos_core.losses import Normalizers, box_loss, loss_counts, sigmoid_focal_loss
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


@pytest.mark.parametrize("preset", ["improved", "torchvision"])
@pytest.mark.parametrize("num_boxes", [(3, 1), (2, 0), (0, 0)], ids=str)
def test_the_mean_loss_of_workers_is_the_loss_of_the_whole_batch(preset, num_boxes):
    model = small_model(preset).eval()
    images = torch.randn(2, 3, 64, 64)
    truths = [
        GroundTruth(random_boxes(n) * 0.4, torch.zeros(n, dtype=torch.int64)) for n in num_boxes
    ]
    whole = model.losses(images, truths)
    halves = []
    for i in range(2):
        outputs = model(images[i : i + 1])
        targets = model.targets_of(images[i : i + 1], outputs, truths[i : i + 1])
        halves.append((images[i : i + 1], outputs, targets))
    normalizers = Normalizers.of(sum(loss_counts(t) for _, _, t in halves), num_workers=2)
    losses = [model.losses_of(*half, normalizers) for half in halves]
    for name in ("classification", "box", "centerness"):
        mean = sum(getattr(loss, name) for loss in losses) / 2
        torch.testing.assert_close(mean, getattr(whole, name), rtol=1e-5, atol=1e-7)


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
