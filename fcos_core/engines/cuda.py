"""The engine for NVIDIA GPUs: folded norms, channels last, fused steps, one graph per shape.

Every form that is faster than torch's own operations is checked against them on the device where it
runs: each step once at construction, the whole network once per shape, on the same random input in
every process. So two workers on the same device model compute in the same way. Where a form fails,
torch's own takes its place, and the log says so.
"""

import logging
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.config import EngineName, Precision
from fcos_core.engines.cuda_graphs import (
    CapturedNetwork,
    Capturer,
    LeastRecentlyUsed,
    Network,
    captured_or_plain,
)
from fcos_core.engines.cuda_probe import agrees, dirty_memory, network_error
from fcos_core.engines.eager import HALF_DTYPES, exact_convolutions
from fcos_core.engines.folded import narrowed
from fcos_core.engines.folding import fold_norms
from fcos_core.engines.fused import FusedNetwork
from fcos_core.engines.operations import PLAIN, Operations, probe_operations
from fcos_core.model.detector import FCOS
from fcos_core.structures import HeadOutputs

MAX_GRAPHS = 8
"""Shapes with a graph at one time; another one costs a check and a recording, about a second."""

_REPEATS = 2  # cuDNN's fused convolutions may be kernels that add in another order each time

_log = logging.getLogger(__name__)


class CudaEngine:
    """Runs a folded, fused copy of the model.

    On a CPU it runs the same network in torch's own operations, for tests.

    Attributes:
        description: of what is used on this device, in one line.
    """

    name: EngineName = "cuda"

    def __init__(
        self,
        model: FCOS,
        device: torch.device,
        precision: Precision,
        *,
        max_graphs: int = MAX_GRAPHS,
    ) -> None:
        self.precision: Precision = precision
        self._device = device
        self._dtype = HALF_DTYPES.get(precision, torch.float32)
        self._network = FusedNetwork(narrowed(fold_norms(model), device, self._dtype)).eval()
        with torch.inference_mode(), exact_convolutions():
            probed = probe_operations(device, self._dtype, self._network.norm())
        self._operations = probed.operations
        self._runs = LeastRecentlyUsed[tuple[int, ...], Network](max_graphs)
        self._capturer = Capturer(device) if device.type == "cuda" else None
        for refusal in probed.refusals:
            _log.warning("engine cuda: %s", refusal)
        fused = ", ".join(probed.operations.names) or "nothing"
        self.description = f"{precision}, fused: {fused}"
        _log.info("engine cuda: %s", self.description)

    @torch.inference_mode()
    def __call__(self, pixels: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        pixels = pixels.to(self._dtype).contiguous(memory_format=torch.channels_last)
        with exact_convolutions():
            return self._run(pixels)(pixels)

    def free_memory(self) -> None:
        """Drop all graphs and their memory."""
        self._wait()
        self._runs.clear()

    def _run(self, pixels: Tensor) -> Network:
        shape = tuple(int(side) for side in pixels.shape)
        if shape not in self._runs:
            self._wait()  # a graph that is dropped now may still be running
        try:
            return self._runs.get(shape, partial(self._prepare, pixels))
        except torch.OutOfMemoryError:
            if not len(self._runs):
                raise
        # Only outside ``except`` is the exception gone, whose traceback holds tensors. Whether a
        # batch fits must not depend on the shapes that were computed before.
        self._runs.clear()
        torch.cuda.empty_cache()
        return self._runs.get(shape, partial(self._prepare, pixels))

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _prepare(self, like: Tensor) -> Network:
        """Choose the steps for a shape, and record them."""
        if self._capturer is None:
            return self._network
        noise = _noise(like)
        operations = self._operations
        if operations is not PLAIN and not self._is_sound(operations, noise):
            _log.warning("engine cuda: %s runs without fused steps", tuple(like.shape))
            operations = PLAIN
        self._network.use(operations)
        run = captured_or_plain(self._capturer, self._network, noise)
        # Without a graph the network is run as it is then set, for any shape: keep its setting.
        return run if isinstance(run, CapturedNetwork) else self._plain_run(operations)

    def _plain_run(self, operations: Operations) -> Network:
        def run(pixels: Tensor) -> HeadOutputs:
            self._network.use(operations)
            return self._network(pixels)

        return run

    def _is_sound(self, operations: Operations, noise: Tensor) -> bool:
        """Whether the fused network gives the plain one's results, and the same each time.

        Raises:
            OutOfMemoryError: the batch is too large for the device.
        """
        self._network.use(PLAIN)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        expected = self._network(noise)
        peak_bytes = torch.cuda.max_memory_allocated(self._device) - before
        self._network.use(operations)
        found: list[HeadOutputs] = []
        for _ in range(_REPEATS):
            torch.cuda.empty_cache()
            dirty_memory(self._device, large_bytes=peak_bytes)
            try:
                found.append(self._network(noise))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                _log.warning("engine cuda: %s", str(error).strip().partition("\n")[0])
                return False
        return all(
            agrees(one, other, network_error(self._dtype))
            for one, other in zip(_tensors(found[0]), _tensors(expected), strict=True)
        ) and all(
            torch.equal(one, other)
            for one, other in zip(_tensors(found[0]), _tensors(found[1]), strict=True)
        )


def _noise(like: Tensor) -> Tensor:
    """Random pixels of a shape, the same on every device of a model."""
    generator = torch.Generator(like.device)
    generator.manual_seed(0)
    return torch.randn(
        like.shape, generator=generator, dtype=like.dtype, device=like.device
    ).contiguous(memory_format=torch.channels_last)


def _tensors(outputs: HeadOutputs) -> tuple[Tensor, Tensor, Tensor]:
    return outputs.cls_logits, outputs.distances, outputs.centerness_logits
