"""Whether a faster form of a computation agrees with the plain one."""

import torch
from torch import Tensor

_SMALL_BLOCK_BYTES, _NUM_SMALL_BLOCKS = 2**20, 64  # torch keeps blocks up to 1 MiB apart
_LARGE_BLOCK_BYTES = 64 * 2**20

_STEP_ERROR = {torch.bfloat16: 0.02, torch.float16: 0.003, torch.float32: 1e-4}
_NETWORK_FACTOR = 10  # the steps of a network round differently, one after another


def step_error(dtype: torch.dtype) -> float:
    """By how much two forms of one step may differ; see :func:`agrees`."""
    return _STEP_ERROR[dtype]


def network_error(dtype: torch.dtype) -> float:
    """By how much two forms of a whole network may differ."""
    return _NETWORK_FACTOR * _STEP_ERROR[dtype]


def agrees(found: Tensor, expected: Tensor, error: float) -> bool:
    """Whether two results differ by rounding only. It waits for the device.

    This finds a kernel that computes something else, not one that rounds in another way. NaN and
    infinity never agree, so a plain result that is not finite allows no other form.

    Args:
        found: the result to judge.
        expected: the plain one.
        error: largest root mean square of the difference, in standard deviations of ``expected``.
    """
    values, difference = expected.float(), found.float() - expected.float()
    # A nearly constant result has no deviation to compare with, but is rounded all the same.
    scale = values.std(correction=0) + 0.1 * values.square().mean().sqrt()
    return bool(difference.square().mean().sqrt() <= error * scale)


def dirty_memory(device: torch.device, large_bytes: int = _LARGE_BLOCK_BYTES) -> None:
    """Fill free memory with NaN, so that a kernel that reads memory before writing it is found."""
    blocks = [
        torch.full((size,), 0xFF, dtype=torch.uint8, device=device)
        for size in (*[_SMALL_BLOCK_BYTES] * _NUM_SMALL_BLOCKS, large_bytes)
    ]
    del blocks
