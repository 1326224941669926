"""The reference: torch executes the model as it was written, one operation after another."""

from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.config import EngineName, Precision
from fcos_core.model.detector import FCOS
from fcos_core.structures import HeadOutputs

HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The types of the precisions below ``fp32``."""


class EagerEngine:
    """Runs the model itself; half precision is torch's autocast."""

    name: EngineName = "eager"

    def __init__(self, model: FCOS, device: torch.device, precision: Precision) -> None:
        self.precision: Precision = precision
        self._model = model.to(device).eval()
        self._device = device

    def __call__(self, pixels: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        with exact_convolutions(), autocast(self._device, self.precision):
            # The memory format chooses the kernels; the reference has torch's usual one.
            return self._model(pixels.contiguous())


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Run the network in a ``Precision``, each operation in the type that torch holds safe."""
    return torch.autocast(
        device.type, dtype=HALF_DTYPES.get(precision), enabled=precision in HALF_DTYPES
    )


def exact_convolutions() -> AbstractContextManager[None]:
    """On CUDA, TF32 would lose half the bits of fp32; other kernels may add in another order."""
    return torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, deterministic=True, allow_tf32=False
    )
