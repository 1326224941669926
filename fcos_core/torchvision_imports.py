"""The names FCOS imports from torchvision, imported without torch's compiler.

torchvision's operator RoIAlign imports ``torch._dynamo`` for a function that it uses when it is
called. FCOS never calls RoIAlign, but the import would cost every process 5 s and 140 MB. So a
stand-in takes the place of ``torch._dynamo`` while torchvision is imported; it imports the real
module when one of its functions is called.
"""

# pyright: reportMissingModuleSource=false

import contextlib
import importlib
import sys
from collections.abc import Callable, Generator
from types import ModuleType

import torch  # noqa: F401  # pyright: ignore[reportUnusedImport] -- before the stand-in is in place

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
    """A module whose functions import the real module when they are called."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: object, **kwargs: object) -> object:
            return getattr(importlib.import_module(_MODULE), name)(*args, **kwargs)

        return call


@contextlib.contextmanager
def _without_compiler() -> Generator[None]:
    if _PACKAGE in sys.modules:  # already imported
        yield
        return
    sys.modules[_PACKAGE] = ModuleType(_PACKAGE)
    sys.modules[_MODULE] = _StandIn(_MODULE)
    try:
        yield
    finally:
        del sys.modules[_PACKAGE], sys.modules[_MODULE]


with _without_compiler():
    from torchvision import models
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.detection import FCOS_ResNet50_FPN_Weights
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.resnet import BasicBlock
    from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, nms
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
