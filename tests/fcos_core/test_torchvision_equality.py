"""Preset ``torchvision`` against the library itself: outputs, detections, targets, losses."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.fcos import FCOS as TORCHVISION_FCOS

from fcos_core import Predictor
from fcos_core.images import make_batch
from fcos_core.locations import location_grid
from fcos_core.structures import GroundTruth
from fcos_core.targets import encode
from jobs.media.image.decode import decode_image
from tests.fcos_core.models import our_model, torchvision_model, torchvision_state_dict

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state():
    return torchvision_state_dict()


@pytest.fixture(scope="module")
def photos():
    """At least 20 real photos of different shapes, half of them turned upright."""
    from tests.conftest import SHARED_DATA

    if not SHARED_DATA.is_dir():
        pytest.skip("the real photos (../shared/data beside the checkout) are absent")
    paths = sorted((SHARED_DATA / "coco_tiny").glob("*/*.jpg"))
    images = {}
    for path in paths:
        image = decode_image(path.read_bytes(), place=str(path))
        images.setdefault(image.shape, image)
    chosen = list(images.values())[:20]
    assert len(chosen) >= 20
    assert {image.shape[0] > image.shape[1] for image in chosen} == {True, False}
    return chosen


def as_tensor(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float().div(255)


@torch.no_grad()
def assert_equal(ours, theirs, photos, *, thresholds=(0.2, 0.05)):
    num_found = 0
    for threshold in thresholds:
        theirs.score_thresh = threshold
        predictor = Predictor(ours, device="cpu", batch_size=1, score_threshold=threshold)
        for photo in photos:
            (expected,) = theirs([as_tensor(photo)])
            (found,) = predictor([photo])
            num_found += len(found)
            assert len(found) == len(expected["scores"])
            # Same process, same kernels: the order is the same too, unless scores all but tie.
            torch.testing.assert_close(found.scores, expected["scores"], rtol=0, atol=1e-5)
            swapped = (found.labels != expected["labels"]).nonzero()[:, 0].tolist()
            for i in swapped:
                assert (found.scores - found.scores[i]).abs().sort().values[1] < 1e-4
            same = [i for i in range(len(found)) if i not in swapped]
            torch.testing.assert_close(
                found.boxes[same], expected["boxes"][same], rtol=0, atol=1e-3
            )
    assert num_found > len(photos)


@pytest.mark.slow
def test_real_photos_give_the_same_detections_at_a_small_size(state, photos):
    sizes = {"min_size": 160, "max_size": 320}
    assert_equal(our_model(state, **sizes), torchvision_model(state, **sizes), photos)


@pytest.mark.slow
def test_real_photos_give_the_same_detections_at_full_size(state, photos):
    assert_equal(our_model(state), torchvision_model(state), photos)


@torch.no_grad()
def test_raw_head_outputs_are_equal(state, photos):
    ours = our_model(state, min_size=256, max_size=512)
    theirs = torchvision_model(state, min_size=256, max_size=512)
    for photo in photos[:4]:
        images, _ = theirs.transform([as_tensor(photo)])
        batch = make_batch([photo], ours.config.input, CPU, batch_size=1)
        assert torch.equal(batch.pixels, images.tensors)
        expected = theirs.head(list(theirs.backbone(images.tensors).values()))
        found = ours(batch.pixels)
        atol = 1e-4
        torch.testing.assert_close(found.cls_logits, expected["cls_logits"], rtol=0, atol=atol)
        torch.testing.assert_close(found.distances, expected["bbox_regression"], rtol=0, atol=atol)
        centerness = expected["bbox_ctrness"][..., 0]
        torch.testing.assert_close(found.centerness_logits, centerness, rtol=0, atol=atol)


def random_truth(count, height, width, num_classes):
    corner = torch.rand(count, 2) * torch.tensor([width * 0.8, height * 0.8])
    size = torch.rand(count, 2) ** 2 * torch.tensor([width * 0.9, height * 0.9]) + 1
    boxes = torch.cat([corner, torch.minimum(corner + size, torch.tensor([width, height]))], dim=1)
    return GroundTruth(boxes, torch.randint(num_classes, (count,)))


@pytest.mark.parametrize("counts", [(7, 40), (0, 5), (0, 0)], ids=str)
def test_targets_are_exactly_equal_and_losses_within_1e_5(state, counts, monkeypatch):
    height, width = 320, 416
    ours, theirs = our_model(state), torchvision_model(state)
    theirs.transform._skip_resize = True
    theirs.train()
    images = torch.rand(len(counts), 3, height, width)
    truths = [random_truth(count, height, width, 91) for count in counts]
    matched = []
    original = TORCHVISION_FCOS.compute_loss

    def spy(self, targets, head_outputs, anchors, num_anchors_per_level):
        def keep(targets, head_outputs, anchors, indices):
            matched.extend(indices)
            return compute(targets, head_outputs, anchors, indices)

        compute = self.head.compute_loss
        self.head.compute_loss = keep
        return original(self, targets, head_outputs, anchors, num_anchors_per_level)

    monkeypatch.setattr(TORCHVISION_FCOS, "compute_loss", spy)
    expected = theirs(list(images), [{"boxes": t.boxes, "labels": t.labels} for t in truths])
    normalized = torch.stack([theirs.transform.normalize(image) for image in images])
    found = ours.losses(normalized, truths)

    shapes = tuple(f.shape[-2:] for f in ours.backbone(normalized).values())
    grid = location_grid((height, width), tuple(map(tuple, shapes)), ours.config.encoding, CPU)
    assert torch.equal(encode(truths, grid, ours.config.encoding).matched, torch.stack(matched))
    torch.testing.assert_close(found.classification, expected["classification"], rtol=1e-5, atol=0)
    torch.testing.assert_close(found.box, expected["bbox_regression"], rtol=1e-5, atol=0)
    torch.testing.assert_close(found.centerness, expected["bbox_ctrness"], rtol=1e-5, atol=0)
    if sum(counts) == 0:
        assert found.box == 0
        assert found.centerness == 0


def test_a_training_step_has_torchvisions_losses_and_gradients(state):
    from fcos_core.training import OptimizationConfig, Trainer, TrainingBatch, TrainingExample

    sizes = {"min_size": 160, "max_size": 256}
    ours, theirs = our_model(state, **sizes), torchvision_model(state, **sizes).train()
    # As the trainer does: the layout decides which convolution kernels round how.
    theirs = theirs.to(memory_format=torch.channels_last)
    rng = np.random.default_rng(3)
    shapes = [(180, 240), (200, 150), (160, 160)]
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    truths = [random_truth(n, *shape, 91) for n, shape in zip((6, 0, 3), shapes, strict=True)]
    expected = theirs(
        [as_tensor(image) for image in images],
        [{"boxes": t.boxes, "labels": t.labels} for t in truths],
    )
    sum(expected.values()).backward()
    norm = torch.stack([p.grad.norm() for p in theirs.parameters()]).norm()

    config = OptimizationConfig(num_steps=1, optimizer="sgd", max_gradient_norm=1e9)
    trainer = Trainer(ours, config, CPU)
    examples = [
        TrainingExample(image, truth, str(i))
        for i, (image, truth) in enumerate(zip(images, truths, strict=True))
    ]
    report = trainer.step(TrainingBatch.of(examples, ours.config.input))
    assert report.classification == pytest.approx(expected["classification"].item(), rel=1e-4)
    assert report.box == pytest.approx(expected["bbox_regression"].item(), rel=1e-4)
    assert report.centerness == pytest.approx(expected["bbox_ctrness"].item(), rel=1e-4)
    assert report.gradient_norm == pytest.approx(norm.item(), rel=1e-4)
    gradients = dict(trainer.model.named_parameters())
    for name, parameter in theirs.named_parameters():
        # Relative to the largest of its tensor: sums of many terms have no smaller error.
        ours, expected = gradients[name].grad, parameter.grad
        assert ours is not None
        assert expected is not None
        assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max(), name
