"""Images in, detections out: the one door through which a job runs the network."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch

from fcos_core.config import DecodingConfig, Engine, Precision
from fcos_core.decoding import decode, decode_again
from fcos_core.errors import ConfigError, DeviceError, NotFiniteError
from fcos_core.images import Uint8Image, check_image, make_batch, padded_shape
from fcos_core.model.detector import FCOS
from fcos_core.structures import Detections

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

_DEVICE_ERRORS = (
    "CUDA error",
    "CUDA driver error",
    "CUDA unknown error",
    "cuDNN error",
    "CUDNN_STATUS",
    "CUBLAS_STATUS",
    "No CUDA GPUs are available",
    "DefaultCPUAllocator",  # the machine's own memory is exhausted
)
"""Texts of torch's errors about a failed device that have no class of their own."""


class Predictor:
    """Holds a model on a device and finds objects in images.

    Only images of the same padded shape share a batch, and a short batch is filled up to full
    size, so an image's detections do not depend on the other images of its batch.

    Args:
        model: moved to the device and put into evaluation mode.
        device: name of a device; ``auto`` takes a CUDA device if there is one.
        precision: of backbone, pyramid and head; decoding and NMS are always float32.
        engine: how the network is executed.
        batch_size: images per forward pass.
        score_threshold: detections must score above this; by default the model's own threshold.

    Raises:
        ConfigError: a setting is out of its limits, or the device does not exist.
    """

    def __init__(
        self,
        model: FCOS,
        *,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        engine: str = "eager",
        batch_size: int = 1,
        score_threshold: float | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise ConfigError(
                f"precision {precision!r}: must be one of {', '.join(get_args(Precision))}"
            )
        if engine not in get_args(Engine):
            raise ConfigError(f"engine {engine!r}: must be one of {', '.join(get_args(Engine))}")
        if batch_size < 1:
            raise ConfigError(f"batch_size {batch_size}: must be at least 1")
        self.device = resolve_device(device)
        self.model = model.to(self.device).eval()
        self.precision = precision
        self.batch_size = batch_size
        self.decoding = _with_threshold(model.config.decoding, score_threshold)

    def padded_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input; images with equal ones may share a batch."""
        return padded_shape(height, width, self.model.config.input)

    def __call__(self, images: Sequence[npt.NDArray[np.generic]]) -> list[Detections]:
        """Find objects in any number of images of any sizes.

        Args:
            images: upright RGB uint8 arrays, height x width x 3.

        Returns:
            One ``Detections`` per image, on the CPU, in pixels of the image.

        Raises:
            ImageError: an array is not an RGB image.
        """
        checked = [check_image(image, f"image {i}") for i, image in enumerate(images)]
        groups: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(checked):
            shape = self.padded_shape(image.shape[0], image.shape[1])
            groups.setdefault(shape, []).append(i)
        found: dict[int, Detections] = {}
        for indices in groups.values():
            for start in range(0, len(indices), self.batch_size):
                batch = indices[start : start + self.batch_size]
                found.update(
                    zip(batch, self.predict_batch([checked[i] for i in batch]), strict=True)
                )
        return [found[i] for i in range(len(checked))]

    def predict_batch(
        self, images: Sequence[Uint8Image], *, batch_size: int | None = None
    ) -> list[Detections]:
        """Find objects in at most ``batch_size`` images that share one padded shape.

        If the device's memory does not suffice, this raises ``torch.OutOfMemoryError``; a smaller
        batch may still fit.

        Args:
            images: upright RGB uint8 arrays, height x width x 3.
            batch_size: size to which the batch is filled, by default the predictor's; another size
                changes the last bits.

        Returns:
            One ``Detections`` per image, on the CPU, in pixels of the image.

        Raises:
            NotFiniteError: the network's outputs for an image contain NaN or infinity.
            DeviceError: the device has failed.
        """
        with device_errors():
            return self._predict_batch(images, batch_size or self.batch_size)

    def free_memory(self) -> None:
        """Release the memory of the device that torch has cached."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _predict_batch(self, images: Sequence[Uint8Image], batch_size: int) -> list[Detections]:
        assert len(images) <= batch_size
        assert len({self.padded_shape(image.shape[0], image.shape[1]) for image in images}) == 1
        count = len(images)
        batch = make_batch(images, self.model.config.input, self.device, batch_size=batch_size)
        with _exact_convolutions(), autocast(self.device, self.precision):
            outputs = self.model(batch.pixels)
        grid = self.model.grid(batch.pixels, outputs)
        outputs = outputs.first(count)
        is_finite = outputs.is_finite()  # read below, where the device is awaited anyway
        located = {
            "sizes": batch.sizes.to(self.device),
            "unit_px": self.model.distance_unit_px(grid),
        }
        decoded = decode(outputs, grid, self.decoding, **located).cpu()
        bad = [i for i, is_good in enumerate(is_finite.tolist()) if not is_good]
        if bad:
            # NaN passes no threshold, so the image would seem to have no objects.
            raise NotFiniteError(
                f"image {bad[0]} of {count}: the network's outputs are not all finite "
                f"({self.precision})"
            )
        if not decoded.is_exact.all():
            decoded = decode_again(decoded, outputs, grid, self.decoding, **located)
        boxes = decoded.boxes * batch.scales.repeat(1, 2)[:, None]
        return [
            Detections(boxes[i, :n], decoded.scores[i, :n], decoded.labels[i, :n])
            for i, n in enumerate(decoded.counts.numpy())
        ]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Run the network in a ``Precision``."""
    return torch.autocast(
        device.type,
        dtype=_AUTOCAST_DTYPES.get(precision),
        enabled=precision in _AUTOCAST_DTYPES,
    )


@contextmanager
def device_errors() -> Generator[None]:
    """Turn torch's errors about a failed device into ``DeviceError``, except out of memory.

    Raises:
        DeviceError: the device or the process has failed.
        RuntimeError: any other error, ``torch.OutOfMemoryError`` included.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not _is_device_error(error):
            raise
        raise DeviceError(str(error).strip().partition("\n")[0]) from error


def _is_device_error(error: RuntimeError) -> bool:
    if isinstance(error, torch.AcceleratorError):
        return True
    return any(words in str(error) for words in _DEVICE_ERRORS)


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn ``auto`` or a name into a device of this machine.

    Raises:
        ConfigError: this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r}: {str(error).splitlines()[0]}") from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return resolved


def _exact_convolutions() -> AbstractContextManager[None]:
    """On CUDA, TF32 would lose half the bits of fp32; other kernels may add in another order."""
    return torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, deterministic=True, allow_tf32=False
    )


def _with_threshold(config: DecodingConfig, score_threshold: float | None) -> DecodingConfig:
    return config if score_threshold is None else replace(config, score_threshold=score_threshold)
