"""Counts what torch is made to do: operations that compute or copy, not views of their inputs."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations whose results' shapes or values are needed before the next one can start.
WAITING = (
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nms",
    "nonzero",
    "repeat_interleave",
    "unique",
)


class Dispatches(TorchDispatchMode):
    """Counts operations by name while it is entered.

    ``is_waiting_refused`` makes an operation that would wait for a CUDA device an error: one whose
    result has a shape that depends on values, or that moves a tensor between host and device.
    """

    def __init__(self, *, is_waiting_refused: bool = False) -> None:
        super().__init__()
        self.is_waiting_refused = is_waiting_refused
        self.names: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.names.total()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().partition("::")[2]
        base = name.partition(".")[0]
        if self.is_waiting_refused and _waits(base, args, kwargs or {}):
            raise AssertionError(f"{name} waits for the device")
        result = func(*args, **(kwargs or {}))
        if (base.endswith("_") and base != "detach_") or not _is_view(result, args):
            self.names[name] += 1
        return result


def _tensors(values: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _waits(base: str, args: tuple, kwargs: dict) -> bool:
    is_mask = base.startswith("index") and any(t.dtype == torch.bool for t in _tensors(args[1:]))
    is_moved = base in {"to", "_to_copy", "lift_fresh"} and any(
        isinstance(leaf, torch.device) for leaf in tree_leaves((args[1:], kwargs))
    )
    # torch.tensor() of Python values makes a tensor on the host, and lifts it.
    return base in WAITING or is_mask or is_moved or base.startswith("lift")


def _is_view(result: object, args: tuple) -> bool:
    given = {tensor.untyped_storage().data_ptr() for tensor in _tensors(args)}
    made = [tensor.untyped_storage().data_ptr() for tensor in _tensors(result)]
    return bool(made) and given.issuperset(made)
