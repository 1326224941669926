"""Elementwise functions that give a value the same bits wherever it lies in a tensor.

On a CPU, torch computes a tensor in whole vectors, and what remains at its end, or at the end of a
thread's share, one by one; the two can differ in the last bit. So a tensor is filled up to whole
vectors, and goes to torch in pieces too small for torch to share out among threads.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

WHOLE_VECTORS = 64
"""A multiple of the values that torch computes at once: two vectors, of 16 with AVX-512."""

_UNSHARED = 32768
"""torch shares out tensors of more elements than this among its threads (its grain size)."""


def sigmoid(values: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """The logistic function."""
    return _in_whole_vectors(torch.sigmoid, values)


def exp(values: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """The exponential function."""
    return _in_whole_vectors(torch.exp, values)


def _in_whole_vectors(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    # A graph that is made for another runtime holds the function alone, for any shape.
    is_traced = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    if values.device.type != "cpu" or is_traced or torch.compiler.is_compiling():
        return function(values)
    flat = values.reshape(-1)
    missing = -len(flat) % WHOLE_VECTORS
    if missing:
        flat = F.pad(flat, (0, missing))
    if torch.get_num_threads() == 1 or len(flat) <= _UNSHARED:
        results = function(flat)
    else:
        pieces = [flat[i : i + _UNSHARED] for i in range(0, len(flat), _UNSHARED)]
        results = torch.cat([function(piece) for piece in pieces])
    return results[: len(results) - missing].view(values.shape)
