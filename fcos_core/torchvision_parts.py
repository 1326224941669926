"""What FCOS takes from torchvision, imported without torch's compiler.

One of torchvision's operators, RoIAlign, imports ``torch._dynamo`` to ask it something when it is
called. FCOS never calls it, yet every process would pay 5 s and 140 MB for that import: so it waits
until somebody does call it.
"""

# pyright: reportMissingModuleSource=false

import contextlib
import importlib
import sys
from collections.abc import Callable, Generator
from types import ModuleType

import torch  # noqa: F401  # pyright: ignore[reportUnusedImport] -- before its compiler has a stand-in

__all__ = [
    "BackboneWithFPN",
    "BasicBlock",
    "FCOS_ResNet50_FPN_Weights",
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "IntermediateLayerGetter",
    "LastLevelP6P7",
    "models",
    "nms",
]

_PACKAGE, _MODULE = "torch._dynamo", "torch._dynamo.utils"


class _StandIn(ModuleType):
    """A module whose functions are looked up in the real one when they are called."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: object, **kwargs: object) -> object:
            return getattr(importlib.import_module(_MODULE), name)(*args, **kwargs)

        return call


@contextlib.contextmanager
def _compiler_put_off() -> Generator[None]:
    if _PACKAGE in sys.modules:  # somebody has paid already
        yield
        return
    sys.modules[_PACKAGE] = ModuleType(_PACKAGE)
    sys.modules[_MODULE] = _StandIn(_MODULE)
    try:
        yield
    finally:
        del sys.modules[_PACKAGE], sys.modules[_MODULE]


with _compiler_put_off():
    from torchvision import models
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.detection import FCOS_ResNet50_FPN_Weights
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.resnet import BasicBlock
    from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, nms
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
