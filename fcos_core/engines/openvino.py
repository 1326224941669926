"""OpenVINO's CPU runtime, an extra: the fastest way to run the network on a processor.

One model for all shapes and batches. Its conversion costs seconds, so it is kept between processes
(``ir_cache.py``).
"""

# openvino's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.config import EngineName, Precision
from fcos_core.engines.ir_cache import cached_ir
from fcos_core.engines.openvino_import import import_openvino
from fcos_core.errors import ConfigError
from fcos_core.locations import level_sizes
from fcos_core.model.detector import FCOS
from fcos_core.structures import HeadOutputs

_PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """Runs the folded model with as many threads as torch has at construction.

    Raises:
        ConfigError: the precision is not one of OpenVINO's, or the processor has none of it.
    """

    name: EngineName = "openvino"

    def __init__(self, model: FCOS, precision: Precision) -> None:
        if precision not in _PRECISION_HINTS:
            raise ConfigError(
                f"engine openvino: precision {precision}, must be {' or '.join(_PRECISION_HINTS)}"
            )
        self.precision: Precision = precision
        self._strides = model.config.encoding.strides
        core = import_openvino().Core()
        if precision == "bf16" and not has_bf16(core):
            raise ConfigError("engine openvino: this processor has no bf16 arithmetic")

        def compiled(path: Path) -> Any:  # noqa: ANN401 -- openvino.CompiledModel
            return core.compile_model(
                core.read_model(path),
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],
                    "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                    "NUM_STREAMS": 1,
                    "ENABLE_CPU_PINNING": False,  # several workers share the cores
                },
            )

        self._request = cached_ir(model, version("openvino"), compiled).create_infer_request()

    def __call__(self, pixels: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        outputs = self._request.infer(
            [pixels.contiguous().numpy()], share_inputs=True, share_outputs=True
        )
        logits, distances, centerness = (torch.from_numpy(outputs[i]) for i in range(3))
        rows = level_sizes(int(pixels.shape[-2]), self._strides)
        columns = level_sizes(int(pixels.shape[-1]), self._strides)
        return HeadOutputs(logits, distances, centerness, tuple(zip(rows, columns, strict=True)))


def is_installed() -> bool:
    """Whether this environment has the extra."""
    return find_spec("openvino") is not None


def has_bf16(core: Any) -> bool:  # noqa: ANN401 -- openvino.Core, which is not imported here
    """Whether the processor computes in bfloat16 itself; elsewhere OpenVINO would use float32."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
