"""Elementwise functions give an image the same bits wherever it lies in a batch."""

import pytest
import torch

from fcos_core import elementwise


@pytest.mark.parametrize("name", ["sigmoid", "exp"])
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("shape", [(1,), (13,), (85, 3), (341, 1), (2134,), (4267, 5)])
def test_an_image_has_the_same_bits_at_every_place_of_a_batch(name, num_threads, shape):
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        image = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * 4
        function = getattr(elementwise, name)
        alone = function(torch.stack([image, *[torch.zeros(shape)] * 7]))[0]
        for place in range(8):
            batch = torch.zeros(8, *shape)
            batch[place] = image
            assert torch.equal(function(batch)[place], alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["sigmoid", "exp"])
def test_the_values_and_gradients_are_those_of_torch(name):
    values = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)
    ours = getattr(elementwise, name)(values)
    expected = getattr(torch, name)(values)
    assert torch.allclose(ours, expected, rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(ours.sum(), values)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), values)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-6, atol=0)


def test_a_batch_without_images_stays_one():
    assert elementwise.sigmoid(torch.zeros(0, 5)).shape == (0, 5)
