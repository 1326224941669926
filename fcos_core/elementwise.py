"""Elementwise functions whose result for an image does not depend on its place in a batch.

On a CPU, torch computes most of a tensor with vector instructions, and the elements at its end, or
at the end of a thread's share, one by one; the two can differ in the last bit. Where a batch is one
tensor, these ends lie in some images and not in others. So a CPU computes image by image: the
images of a batch have one shape, hence their ends at the same elements.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def sigmoid(values: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    """The logistic function of a batch, image by image on a CPU."""
    return _by_image(torch.sigmoid, values)


def exp(values: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    """The exponential function of a batch, image by image on a CPU."""
    return _by_image(torch.exp, values)


def _by_image(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    if values.device.type != "cpu" or len(values) <= 1:
        return function(values)
    # Contiguous, for torch takes another loop, with ends elsewhere, through a tensor with gaps.
    return torch.stack([function(image) for image in values.contiguous()])
