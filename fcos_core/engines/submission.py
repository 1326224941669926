"""The ways of a batch to a device that runs behind the CPU, and back: nothing here waits.

Images are copied into pinned memory and from there to the device, on a stream of their own, so that
the device computes one batch while the next one comes. On a CPU the same steps run at once.

Letters: ``B`` images with those that fill the batch, ``I`` images, ``H``, ``W`` padded input.
"""

# torch leaves the types of from_numpy() and of streams partly unknown.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from fcos_core.config import InputConfig
from fcos_core.images import CHANNELS, Uint8Image, padded_shape, resized_shape


@dataclass(frozen=True)
class StagedBatch:
    """Images on their way to the device.

    Args:
        pixels: all pixels of all images, one image after the other, on the device.
        shapes: height and width of each image.
        sizes: height and width of each image inside the padding, on the device.
        scales: x and y factors from the padded input back to the original image, on the CPU.
    """

    pixels: UInt8[Tensor, " N"]
    shapes: tuple[tuple[int, int], ...]
    sizes: Float[Tensor, "I 2"]
    scales: Float[Tensor, "I 2"]


class Stager:
    """Copies images to a device through pinned memory, beside what the device computes.

    torch keeps pinned memory that is no longer used for the next batch, but not before the copy
    from it is done. So there are as many slots as batches under way.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def stage(self, images: Sequence[Uint8Image], config: InputConfig) -> StagedBatch:
        """Begin to copy images that share one padded shape; what follows on the device waits."""
        is_pinned = self._stream is not None
        shapes = tuple((int(image.shape[0]), int(image.shape[1])) for image in images)
        inside = [resized_shape(height, width, config) for height, width in shapes]
        factors = [
            (width / new_width, height / new_height)
            for (height, width), (new_height, new_width) in zip(shapes, inside, strict=True)
        ]
        lengths = [image.size for image in images]
        pinned = torch.empty(sum(lengths), dtype=torch.uint8, pin_memory=is_pinned)
        sizes = torch.empty((len(images), 2), dtype=torch.float32, pin_memory=is_pinned)
        sizes.numpy()[:] = inside
        scales = torch.empty((len(images), 2), dtype=torch.float32)
        scales.numpy()[:] = factors
        start = 0
        values = pinned.numpy()
        for image, length in zip(images, lengths, strict=True):
            np.copyto(values[start : start + length].reshape(image.shape), image)
            start += length
        pixels, sizes = self._sent(pinned, sizes)
        return StagedBatch(pixels, shapes, sizes, scales)

    def _sent(self, *tensors: Tensor) -> list[Tensor]:
        if self._stream is None:
            return list(tensors)
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            sent = [tensor.to(self._device, non_blocking=True) for tensor in tensors]
        computing.wait_stream(self._stream)
        for tensor in sent:
            tensor.record_stream(computing)  # or the next copy could take its memory too early
        return sent


def network_input(
    staged: StagedBatch, config: InputConfig, *, batch_size: int
) -> Float[Tensor, "B 3 H W"]:
    """Normalise, resize and pad on the device, as ``make_batch`` does; channels last.

    Neighbours of one shape are one tensor.
    """
    rows, columns = padded_shape(*staged.shapes[0], config)
    device = staged.pixels.device
    pixels = torch.zeros((batch_size, CHANNELS, rows, columns), device=device).contiguous(
        memory_format=torch.channels_last
    )
    mean, std = _mean_and_std(config, device)
    first = start = 0
    while first < len(staged.shapes):
        height, width = staged.shapes[first]
        last = first
        while last < len(staged.shapes) and staged.shapes[last] == (height, width):
            last += 1
        length = (last - first) * height * width * CHANNELS
        part = staged.pixels[start : start + length].view(last - first, height, width, CHANNELS)
        part = part.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
        shape = resized_shape(height, width, config)
        if shape != (height, width):
            part = F.interpolate(part, size=shape, mode="bilinear", align_corners=False)
        pixels[first:last, :, : shape[0], : shape[1]] = part
        first, start = last, start + length
    return pixels


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _mean_and_std(config: InputConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (
        torch.tensor(values)[:, None, None].to(device) for values in (config.mean, config.std)
    )
    return mean, std


class HostCopies:
    """Copies of a device's tensors in pinned memory."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._copies = [_copy_to_host(tensor) for tensor in tensors]
        self._event = None
        cuda = next((tensor.device for tensor in tensors if tensor.is_cuda), None)
        if cuda is not None:
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(cuda))

    def wait(self) -> list[Tensor]:
        """Wait until the copies are there; only what was launched before them is waited for."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies


def _copy_to_host(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
