"""OpenVINO's CPU runtime, an extra: the fastest way to run the network on a processor.

One model for all shapes and batches. Its conversion costs seconds, so it is kept between processes
(``ir_cache.py``).
"""

# openvino's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.config import EngineName, Precision
from fcos_core.engines.ir_cache import cached_ir
from fcos_core.engines.openvino_import import import_openvino
from fcos_core.errors import ConfigError, DeviceError
from fcos_core.locations import level_sizes
from fcos_core.model.detector import FCOS
from fcos_core.structures import HeadOutputs

_PROBE_SHAPE = (1, 3, 128, 160)
_PROBE_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}  # of the largest output

_PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """Runs the folded model with as many threads as torch has at construction.

    Raises:
        ConfigError: the precision is not one of OpenVINO's, the processor has none of it, or the
            outputs are not those of torch.
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
        self._outputs: list[npt.NDArray[np.float32]] = []
        self._num_classes = model.config.num_classes
        self._require_torchs_outputs(model)

    @torch.inference_mode()
    def __call__(self, pixels: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        rows = level_sizes(int(pixels.shape[-2]), self._strides)
        columns = level_sizes(int(pixels.shape[-1]), self._strides)
        for stale in self._outputs:
            stale.fill(np.nan)
        results = self._request.infer(
            [pixels.contiguous().numpy()], share_inputs=True, share_outputs=True
        )
        self._outputs = [results[i] for i in range(3)]
        shapes = tuple(zip(rows, columns, strict=True))
        self._require_computed(len(pixels), sum(height * width for height, width in shapes))
        logits, distances, centerness = (torch.from_numpy(one) for one in self._outputs)
        # OpenVINO's ReLU makes 0 of NaN: pixels that are not finite would look like no objects.
        logits[~pixels.flatten(1).sum(dim=1).isfinite()] = torch.nan
        return HeadOutputs(logits, distances, centerness, shapes)

    def _require_computed(self, num_images: int, num_locations: int) -> None:
        """Refuse what an earlier batch left: without memory, OpenVINO returns and says nothing.

        Raises:
            DeviceError: nothing was computed.
        """
        logits = self._outputs[0]
        expected = (num_images, num_locations, self._num_classes)
        if logits.shape != expected or (
            np.isnan(logits.flat[0]) and all(np.isnan(one).all() for one in self._outputs)
        ):
            raise DeviceError(
                f"OpenVINO gave outputs of shape {logits.shape} instead of {expected}, or none: "
                "most likely memory is exhausted"
            )

    @torch.inference_mode()
    def _require_torchs_outputs(self, model: FCOS) -> None:
        """Compare a small input's outputs with torch's.

        OpenVINO's ReLU makes 0 of NaN, so weights whose activations overflow would give detections
        here, where torch gives outputs that are not finite.

        Raises:
            ConfigError: they differ by more than the precision explains.
        """
        pixels = torch.randn(_PROBE_SHAPE, generator=torch.Generator().manual_seed(0))
        outputs, expected = self(pixels), model.cpu().eval()(pixels)
        for name in ("cls_logits", "distances", "centerness_logits"):
            ours, torchs = getattr(outputs, name), getattr(expected, name)
            limit = _PROBE_TOLERANCE[self.precision] * (1 + torchs.abs().max())
            if not bool((ours - torchs).abs().max() <= limit):
                raise ConfigError(
                    f"engine openvino: {name} of a test image differ from torch's by "
                    f"{float((ours - torchs).abs().max()):g}, limit {float(limit):g}; give "
                    "--engine eager, which is the reference"
                )


def has_bf16(core: Any) -> bool:  # noqa: ANN401 -- openvino.Core, which is not imported here
    """Whether the processor computes in bfloat16 itself; elsewhere OpenVINO would use float32."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
