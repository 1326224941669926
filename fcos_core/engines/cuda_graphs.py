"""CUDA graphs: the launches of a whole network, recorded once and replayed as one."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from fcos_core.structures import HeadOutputs

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

Network = Callable[[Tensor], HeadOutputs]

_log = logging.getLogger(__name__)


class LeastRecentlyUsed(Generic[Key, Value]):
    """At most ``limit`` values; the one that was not used for the longest time makes place."""

    def __init__(self, limit: int) -> None:
        assert limit >= 1
        self._limit = limit
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the key's value, made now if there is none."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        while len(self._values) >= self._limit:  # before, since both may not fit in memory
            self._values.popitem(last=False)
        self._values[key] = value = make()
        return value

    def clear(self) -> None:
        self._values.clear()


class CapturedNetwork:
    """One network for one shape: the input is copied to a fixed place, then all is replayed.

    The outputs are at a fixed place too, which the next replay of any graph of the same
    ``Capturer`` may overwrite.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, pixels: Tensor, outputs: HeadOutputs) -> None:
        self._graph = graph
        self._pixels = pixels
        self._outputs = outputs

    def __call__(self, pixels: Tensor) -> HeadOutputs:
        self._pixels.copy_(pixels)
        self._graph.replay()
        return self._outputs


class Capturer:
    """Records graphs that share one pool of memory, for they never run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, network: Network, pixels: Tensor) -> CapturedNetwork:
        """Record a network that has run on this shape before; ``pixels`` become its input.

        Raises:
            RuntimeError: the network does something that a graph cannot hold.
        """
        current = torch.cuda.current_stream(self._device)
        # Kernels are chosen, compiled and loaded at the first call on a stream, which cannot be
        # recorded.
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            network(pixels)
        current.wait_stream(self._stream)
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        # Other threads may pin memory meanwhile, which a global mode would forbid them.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            outputs = network(pixels)
        return CapturedNetwork(graph, pixels, outputs)


def captured_or_plain(capturer: Capturer, network: Network, pixels: Tensor) -> Network:
    """Record the network, or return it as it is and say why it could not be recorded.

    Raises:
        OutOfMemoryError: the batch is too large for the device.
    """
    try:
        return capturer.capture(network, pixels)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        torch.cuda.synchronize()  # an error of the device, not of the recording, is raised again
        reason = str(error).strip().partition("\n")[0]
        _log.warning("engine cuda: %s runs without a graph: %s", tuple(pixels.shape), reason)
        return network
