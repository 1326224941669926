"""Images in, detections out: the one door through which a job runs the network."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool
from torch import Tensor

from fcos_core.config import DecodingConfig, EngineName, Precision
from fcos_core.decoding import DecodedBatch, decode, decode_again
from fcos_core.engines.engine import HoldsMemory
from fcos_core.engines.make import make_engine
from fcos_core.engines.submission import HostCopies, StagedBatch, Stager, network_input
from fcos_core.errors import ConfigError, DeviceError, NotFiniteError
from fcos_core.images import Uint8Image, check_image, make_batch, padded_shape
from fcos_core.model.detector import FCOS
from fcos_core.structures import Detections, HeadOutputs

_DEVICE_TYPES = ("cpu", "cuda")

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


class Pending:
    """A batch that a device computes, or has computed."""

    def __init__(self, read: Callable[[], list[Detections]]) -> None:
        self._read = read

    def result(self) -> list[Detections]:
        """Wait for the batch; what it returns and raises is documented at ``predict_batch``."""
        with device_errors():
            return self._read()


class Predictor:
    """Holds a model on a device and finds objects in images.

    Only images of the same padded shape share a batch, and a short batch is filled up to full
    size, so an image's detections do not depend on the other images of its batch.

    Args:
        model: put into evaluation mode; ``eager`` moves it to the device, others run a copy.
        device: name of a device; ``auto`` takes a CUDA device if there is one.
        precision: of backbone, pyramid and head; decoding and NMS are always float32.
        engine: how the network is executed; ``eager`` is the reference.
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
        if engine not in get_args(EngineName):
            raise ConfigError(
                f"engine {engine!r}: must be one of {', '.join(get_args(EngineName))}"
            )
        if batch_size < 1:
            raise ConfigError(f"batch_size {batch_size}: must be at least 1")
        self.device = resolve_device(device)
        self.model = model.eval()
        self.precision = precision
        self.engine = make_engine(
            cast("EngineName", engine), self.model, self.device, cast("Precision", precision)
        )
        self.batch_size = batch_size
        self._stager = Stager(self.device)
        self.decoding = _with_threshold(model.config.decoding, score_threshold)

    @property
    def runs_ahead(self) -> bool:
        """Whether ``submit`` returns before the batch is computed."""
        return self.device.type == "cuda"

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
        if self.runs_ahead:
            return self.submit(images, batch_size=batch_size).result()
        with device_errors():
            return self._predict_batch(images, batch_size or self.batch_size)

    def submit(self, images: Sequence[Uint8Image], *, batch_size: int | None = None) -> Pending:
        """Begin to find objects; ``predict_batch`` says in what. On a CPU this computes the batch.

        The images are copied: their memory may be used again. Batches are computed in the order in
        which they are submitted; submit the next one before reading one, so that the device never
        waits. Each batch under way holds its input and its detections in the device's memory.

        Args:
            images: as for ``predict_batch``.
            batch_size: as for ``predict_batch``.

        Raises:
            DeviceError: the device has failed.
        """
        with device_errors():
            return Pending(self._submit(images, batch_size or self.batch_size))

    def free_memory(self) -> None:
        """Release the memory of the device that torch and the engine have kept for later use."""
        if isinstance(self.engine, HoldsMemory):
            self.engine.free_memory()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _predict_batch(self, images: Sequence[Uint8Image], batch_size: int) -> list[Detections]:
        assert len(images) <= batch_size
        assert len({self.padded_shape(image.shape[0], image.shape[1]) for image in images}) == 1
        count = len(images)
        batch = make_batch(images, self.model.config.input, self.device, batch_size=batch_size)
        outputs = self.engine(batch.pixels)
        grid = self.model.grid(batch.pixels, outputs)
        outputs = outputs.first(count)
        is_finite = outputs.is_finite()  # read below, where the device is awaited anyway
        located = {
            "sizes": batch.sizes.to(self.device),
            "unit_px": self.model.distance_unit_px(grid),
        }
        decoded = decode(outputs, grid, self.decoding, **located).cpu()
        self._require_finite(is_finite.cpu())
        if not decoded.is_exact.all():
            decoded = decode_again(decoded, outputs, grid, self.decoding, **located)
        boxes = decoded.boxes * batch.scales.repeat(1, 2)[:, None]
        return [
            Detections(boxes[i, :n], decoded.scores[i, :n], decoded.labels[i, :n])
            for i, n in enumerate(decoded.counts.numpy())
        ]

    @torch.inference_mode()
    def _submit(
        self, images: Sequence[Uint8Image], batch_size: int
    ) -> Callable[[], list[Detections]]:
        """Launch a batch without waiting; return what reads it."""
        assert len(images) <= batch_size
        staged = self._stager.stage(images, self.model.config.input)
        outputs, located = self._outputs_of(staged, batch_size)
        decoded = decode(outputs, config=self.decoding, **located)
        copies = HostCopies(
            [
                outputs.is_finite(),
                decoded.boxes,
                decoded.scores,
                decoded.labels,
                decoded.counts,
                decoded.is_exact,
            ]
        )
        return partial(self._read, copies, staged, batch_size)

    def _outputs_of(
        self, staged: StagedBatch, batch_size: int
    ) -> tuple[HeadOutputs, dict[str, Any]]:
        """The network's outputs for the images, and what decoding needs to know of them."""
        pixels = network_input(staged, self.model.config.input, batch_size=batch_size)
        outputs = self.engine(pixels)
        grid = self.model.grid(pixels, outputs)
        located = {
            "grid": grid,
            "sizes": staged.sizes,
            "unit_px": self.model.distance_unit_px(grid),
        }
        return outputs.first(len(staged.shapes)), located

    @torch.inference_mode()
    def _read(self, copies: HostCopies, staged: StagedBatch, batch_size: int) -> list[Detections]:
        is_finite, *found = copies.wait()
        self._require_finite(is_finite)
        decoded = DecodedBatch(*found)
        if not decoded.is_exact.all():
            # The outputs may be gone: the engine may have run again since.
            outputs, located = self._outputs_of(staged, batch_size)
            decoded = decode_again(decoded, outputs, config=self.decoding, **located)
        boxes = decoded.boxes * staged.scales.repeat(1, 2)[:, None]
        # Copies, since the detections may be kept for long and pinned memory is scarce.
        return [
            Detections(
                boxes[i, :n].clone(), decoded.scores[i, :n].clone(), decoded.labels[i, :n].clone()
            )
            for i, n in enumerate(decoded.counts.numpy())
        ]

    def _require_finite(self, is_finite: Bool[Tensor, " I"]) -> None:
        """Refuse a batch with outputs that no threshold sees.

        Raises:
            NotFiniteError: an image's outputs contain NaN or infinity.
        """
        bad = [i for i, is_good in enumerate(is_finite.numpy()) if not is_good]
        if bad:
            # NaN passes no threshold, so the image would seem to have no objects.
            raise NotFiniteError(
                f"image {bad[0]} of {len(is_finite)}: the network's outputs are not all finite "
                f"({self.precision})"
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
    if resolved.type not in _DEVICE_TYPES:
        raise ConfigError(f"device {device!r}: must be {' or '.join(_DEVICE_TYPES)}")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return resolved


def _with_threshold(config: DecodingConfig, score_threshold: float | None) -> DecodingConfig:
    return config if score_threshold is None else replace(config, score_threshold=score_threshold)
