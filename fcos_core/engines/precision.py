"""The number formats of the network, as torch knows them."""

import torch

HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The types of the precisions below ``fp32``."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Run the network in a ``Precision``, each operation in the type that torch holds safe."""
    return torch.autocast(
        device.type, dtype=HALF_DTYPES.get(precision), enabled=precision in HALF_DTYPES
    )
