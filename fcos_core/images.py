"""From upright RGB images to a normalised, padded batch, on the model's device.

The order of operations and the rounding are torchvision's (``models/detection/transform.py``):
normalise, then bilinear without antialiasing, then zero padding on the right and at the bottom.
"""

# torch leaves the type of from_numpy() partly unknown.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fcos_core.config import InputConfig
from fcos_core.errors import ImageError
from fcos_core.input_shapes import padded_shape, resized_shape

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
    Pixels are channels last in memory, and images of one size are worked on together.
    """
    shapes = [(image.shape[0], image.shape[1]) for image in images]
    sizes = [resized_shape(height, width, config) for height, width in shapes]
    scales = [
        (width / columns, height / rows)
        for (height, width), (rows, columns) in zip(shapes, sizes, strict=True)
    ]
    if len(set(shapes)) == 1:
        resized = resize(_normalized(np.stack(images), config, device), config)
        rows, columns = padded_shape(*shapes[0], config)
        more = (0, columns - sizes[0][1], 0, rows - sizes[0][0])
        pixels = F.pad(resized, (*more, 0, 0, 0, batch_size - len(images)))
    else:
        each = [resize(normalize(image, config, device)[None], config)[0] for image in images]
        pixels = stack_padded(each, config.size_divisor, batch_size=batch_size)
    return ImageBatch(
        pixels.contiguous(memory_format=torch.channels_last),
        torch.tensor(sizes, dtype=torch.float32),
        torch.tensor(scales, dtype=torch.float32),
    )


def stack_padded(
    images: Sequence[Float[Tensor, "3 _ _"]], size_divisor: int, *, batch_size: int
) -> Float[Tensor, "B 3 H W"]:
    """Stack normalised images, at least one, zero-padded on the right and at the bottom.

    The largest height and width are rounded up to a multiple of ``size_divisor``; zeros fill the
    batch up to ``batch_size`` images. Channels are last in memory.
    """
    rows, columns = (
        -(-max(int(image.shape[axis]) for image in images) // size_divisor) * size_divisor
        for axis in (-2, -1)
    )
    pixels = torch.empty(
        (batch_size, CHANNELS, rows, columns),
        device=images[0].device,
        memory_format=torch.channels_last,
    ).zero_()
    for i, image in enumerate(images):
        pixels[i, :, : image.shape[-2], : image.shape[-1]] = image
    return pixels


def normalize(
    image: Uint8Image, config: InputConfig, device: torch.device
) -> Float[Tensor, "3 H W"]:
    """Channels first, 0..1, minus mean, over standard deviation."""
    return _normalized(image[None], config, device)[0]


def _normalized(
    images: npt.NDArray[np.uint8], config: InputConfig, device: torch.device
) -> Float[Tensor, "B 3 H W"]:
    # A view of numpy memory that is not writable (a decoder's, Arrow's) is only read here.
    tensor: Tensor = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(device)
    mean, std = _mean_and_std(config.mean, config.std, device)
    return tensor.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _mean_and_std(
    mean: tuple[float, float, float], std: tuple[float, float, float], device: torch.device
) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Tensors on the device, made once; they must not be changed."""
    return (
        torch.tensor(mean, device=device)[:, None, None],
        torch.tensor(std, device=device)[:, None, None],
    )


def resize(images: Float[Tensor, "B 3 H W"], config: InputConfig) -> Float[Tensor, "B 3 h w"]:
    """Resize bilinearly to the shape of :func:`resized_shape`."""
    height, width = int(images.shape[-2]), int(images.shape[-1])
    shape = resized_shape(height, width, config)
    if shape == (height, width):
        return images
    return F.interpolate(images, size=shape, mode="bilinear", align_corners=False)
