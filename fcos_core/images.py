"""From upright RGB images to a normalised, padded batch, on the model's device.

The order of operations and the rounding are torchvision's (``models/detection/transform.py``):
normalise, then bilinear without antialiasing, then zero padding on the right and at the bottom.
"""

# torch leaves the type of from_numpy() partly unknown.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fcos_core.config import InputConfig
from fcos_core.errors import ImageError

CHANNELS = 3

Uint8Image = npt.NDArray[np.uint8]
"""Upright RGB, height x width x 3."""


@dataclass(frozen=True)
class ImageBatch:
    """``I`` images ready for the network, filled up to ``B`` with zeros.

    Args:
        pixels: normalised and zero-padded.
        sizes: height and width of each image inside the padding.
        scales: x and y factors from the padded input back to the original image.
    """

    pixels: Float[Tensor, "B 3 H W"]
    sizes: Float[Tensor, "I 2"]
    scales: Float[Tensor, "I 2"]


def resized_shape(height: int, width: int, config: InputConfig) -> tuple[int, int]:
    """Height and width after resizing, rounded down as torch's ``interpolate`` does."""
    factor = min(config.min_size_px / min(height, width), config.max_size_px / max(height, width))
    return max(1, math.floor(height * factor)), max(1, math.floor(width * factor))


def padded_shape(height: int, width: int, config: InputConfig) -> tuple[int, int]:
    """Height and width of the network's input for an image of this size."""
    rows, columns = resized_shape(height, width, config)
    divisor = config.size_divisor
    return -(-rows // divisor) * divisor, -(-columns // divisor) * divisor


def check_image(image: npt.NDArray[np.generic], place: str) -> Uint8Image:
    """Return the array, which must be an RGB image.

    Raises:
        ImageError: the array is not height x width x 3 of uint8, or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != CHANNELS or image.shape[-1] != CHANNELS:
        raise ImageError(
            f"{place}: {image.dtype} array of shape {image.shape}, must be uint8 height x width x 3"
        )
    if 0 in image.shape:
        raise ImageError(
            f"{place}: {image.shape[1]} x {image.shape[0]} pixels, must be at least 1 x 1"
        )
    return cast("Uint8Image", image)


def make_batch(
    images: Sequence[Uint8Image], config: InputConfig, device: torch.device, *, batch_size: int
) -> ImageBatch:
    """Resize, normalise and pad images that share one padded shape.

    Zeros fill the batch up to ``batch_size`` images, so that all batches of a run have one size.
    """
    resized = [resize(normalize(image, config, device), config) for image in images]
    sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in resized]
    scales = [
        (image.shape[1] / width, image.shape[0] / height)
        for image, (height, width) in zip(images, sizes, strict=True)
    ]
    return ImageBatch(
        stack_padded(resized, config.size_divisor, batch_size=batch_size),
        torch.tensor(sizes, dtype=torch.float32),
        torch.tensor(scales, dtype=torch.float32),
    )


def stack_padded(
    images: Sequence[Float[Tensor, "3 _ _"]], size_divisor: int, *, batch_size: int
) -> Float[Tensor, "B 3 H W"]:
    """Stack normalised images, at least one, zero-padded on the right and at the bottom.

    The largest height and width are rounded up to a multiple of ``size_divisor``; zeros fill the
    batch up to ``batch_size`` images.
    """
    rows, columns = (
        -(-max(int(image.shape[axis]) for image in images) // size_divisor) * size_divisor
        for axis in (-2, -1)
    )
    pixels = images[0].new_zeros((batch_size, CHANNELS, rows, columns))
    for i, image in enumerate(images):
        pixels[i, :, : image.shape[-2], : image.shape[-1]] = image
    return pixels


def normalize(
    image: Uint8Image, config: InputConfig, device: torch.device
) -> Float[Tensor, "3 H W"]:
    """Channels first, 0..1, minus mean, over standard deviation."""
    # A view of numpy memory that is not writable (a decoder's, Arrow's) is only read here.
    tensor: Tensor = torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device)
    tensor = tensor.permute(2, 0, 1).float().div(255)
    mean = torch.tensor(config.mean, device=device)[:, None, None]
    std = torch.tensor(config.std, device=device)[:, None, None]
    return (tensor - mean) / std


def resize(image: Float[Tensor, "3 H W"], config: InputConfig) -> Float[Tensor, "3 h w"]:
    """Resize bilinearly to the shape of :func:`resized_shape`."""
    height, width = int(image.shape[-2]), int(image.shape[-1])
    shape = resized_shape(height, width, config)
    if shape == (height, width):
        return image
    return F.interpolate(image[None], size=shape, mode="bilinear", align_corners=False)[0]
