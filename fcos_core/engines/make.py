"""Make an engine by its name; a module of an engine is imported only when it is asked for."""

import torch

from fcos_core.config import EngineName, Precision
from fcos_core.engines.choice import OPENVINO_INSTALL
from fcos_core.engines.engine import Engine
from fcos_core.errors import ConfigError
from fcos_core.model.detector import FCOS


def make_engine(
    name: EngineName, model: FCOS, device: torch.device, precision: Precision
) -> Engine:
    """Make the engine that runs a model on a device; threads are torch's at this moment.

    Raises:
        ConfigError: the engine does not run on this device, in this precision or environment.
    """
    if name == "eager":
        from fcos_core.engines.eager import EagerEngine

        return EagerEngine(model, device, precision)
    if name == "folded":
        from fcos_core.engines.folded import FoldedEngine

        return FoldedEngine(model, device, precision)
    if name == "cuda":
        if device.type != "cuda":
            raise ConfigError(f"engine cuda: needs a CUDA device, the device is {device}")
        from fcos_core.engines.cuda import CudaEngine

        return CudaEngine(model, device, precision)
    if device.type != "cpu":
        raise ConfigError(f"engine openvino: needs a CPU, the device is {device}")
    try:
        from fcos_core.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(model, precision)
    except ImportError as error:
        raise ConfigError(f"engine openvino: {error}; {OPENVINO_INSTALL}") from error
