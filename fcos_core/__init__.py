"""FCOS itself: tensors in, tensors out. Knows no Ray, Parquet, S3, file layout or command line.

The names below are imported when they are first used, so that code which needs only the errors,
such as verifying a run, does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fcos_core.category import Category
    from fcos_core.checkpoint import load_checkpoint, save_checkpoint
    from fcos_core.errors import FcosError
    from fcos_core.model.detector import FCOS, build_model
    from fcos_core.predictor import Predictor
    from fcos_core.structures import Detections, GroundTruth

__all__ = [
    "FCOS",
    "Category",
    "Detections",
    "FcosError",
    "GroundTruth",
    "Predictor",
    "build_model",
    "load_checkpoint",
    "save_checkpoint",
]

_MODULES = {
    "FCOS": "fcos_core.model.detector",
    "Category": "fcos_core.category",
    "Detections": "fcos_core.structures",
    "FcosError": "fcos_core.errors",
    "GroundTruth": "fcos_core.structures",
    "Predictor": "fcos_core.predictor",
    "build_model": "fcos_core.model.detector",
    "load_checkpoint": "fcos_core.checkpoint",
    "save_checkpoint": "fcos_core.checkpoint",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
