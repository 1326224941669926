"""A batch made in one go has the bits of its images made one by one, as torchvision does it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fcos_core.config import CAFFE_MEAN, CAFFE_STD, InputConfig
from fcos_core.images import make_batch, padded_shape, resized_shape
from tests.fcos_core.dispatches import Dispatches

CPU = torch.device("cpu")
CONFIG = InputConfig(min_size_px=96, max_size_px=160)


def random_images(*shapes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def one_by_one(images, config, batch_size):
    """In torchvision's order: normalise, resize, pad; three dimensions, new tensors each time."""
    rows, columns = padded_shape(*images[0].shape[:2], config)
    pixels = torch.zeros(batch_size, 3, rows, columns)
    for i, image in enumerate(images):
        values = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        mean, std = (torch.tensor(v)[:, None, None] for v in (config.mean, config.std))
        values = (values - mean) / std
        shape = resized_shape(*image.shape[:2], config)
        if shape != image.shape[:2]:
            values = F.interpolate(values[None], size=shape, mode="bilinear")[0]
        pixels[i, :, : shape[0], : shape[1]] = values
    return pixels


@pytest.mark.parametrize(
    ("shapes", "batch_size"),
    [
        pytest.param([(120, 150)], 1, id="one"),
        pytest.param([(120, 150)] * 4, 4, id="equal"),
        pytest.param([(120, 150)] * 3, 5, id="filled_with_zeros"),
        pytest.param([(96, 128)] * 2, 2, id="as_they_are"),
        pytest.param([(96, 120)] * 2, 2, id="padded_alone"),
        pytest.param([(120, 150), (121, 150), (60, 75)], 3, id="unequal"),
        pytest.param([(120, 150), (121, 150)], 4, id="unequal_filled"),
        pytest.param([(40, 50)] * 2, 2, id="enlarged"),
        pytest.param([(1, 1)], 1, id="one_pixel"),
    ],
)
@pytest.mark.parametrize(
    "config",
    [CONFIG, InputConfig(min_size_px=96, max_size_px=160, mean=CAFFE_MEAN, std=CAFFE_STD)],
    ids=["imagenet", "caffe"],
)
def test_a_batch_has_the_bits_of_its_images_one_by_one(shapes, batch_size, config):
    images = random_images(*shapes)
    batch = make_batch(images, config, CPU, batch_size=batch_size)
    assert torch.equal(batch.pixels, one_by_one(images, config, batch_size))
    assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
    for image, size, scale in zip(images, batch.sizes, batch.scales, strict=True):
        height, width = image.shape[:2]
        assert tuple(size.tolist()) == resized_shape(height, width, config)
        expected = torch.tensor([width / float(size[1]), height / float(size[0])])
        assert torch.equal(scale, expected)


def test_mean_and_deviation_are_made_once():
    """Also when the first batch is made in inference mode, and a later one is trained on."""
    images = random_images((120, 150))
    config = InputConfig(min_size_px=96, max_size_px=160, mean=(0.1, 0.2, 0.3))
    with torch.inference_mode():
        make_batch(images, config, CPU, batch_size=1)
    batch = make_batch(images, config, CPU, batch_size=1)
    weight = torch.ones(1, requires_grad=True)
    (batch.pixels * weight).sum().backward()
    assert weight.grad is not None


def test_a_batch_of_equal_images_takes_few_operations():
    images = random_images(*[(120, 150)] * 8)
    with torch.inference_mode(), Dispatches() as dispatched:
        make_batch(images, CONFIG, CPU, batch_size=8)
    assert 3 < dispatched.total <= 6
