"""Fold batch norms into the convolutions before them: at inference both are one linear map."""

import copy
from typing import cast

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fcos_core.model.detector import FCOS
from fcos_core.torchvision_imports import FrozenBatchNorm2d

_NORMS = (FrozenBatchNorm2d, nn.BatchNorm2d)


def fold_norms(model: FCOS) -> FCOS:
    """Return a copy of the model without batch norms, for inference only.

    The products are computed in float64 and rounded once, so the copy differs from the model by
    rounding alone.
    """
    folded = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    for parent in list(folded.modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, _NORMS):
                # In every network that we build, a norm's convolution stands before it.
                assert isinstance(before, nn.Conv2d)
                _fold(before, child)
                setattr(parent, name, nn.Identity())
            before = child
    assert not any(isinstance(module, _NORMS) for module in folded.modules())
    return folded


def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    mean, variance, weight, bias = (
        cast("Tensor", getattr(norm, name)).double()
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    folded_weight, folded_bias = fuse_conv_bn_weights(
        nn.Parameter(conv.weight.double()),
        None if conv.bias is None else nn.Parameter(conv.bias.double()),
        *(mean, variance, cast("float", norm.eps), weight, bias),
    )
    conv.weight = nn.Parameter(folded_weight.detach().float(), requires_grad=False)
    conv.bias = nn.Parameter(folded_bias.detach().float(), requires_grad=False)
