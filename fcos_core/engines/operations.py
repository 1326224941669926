"""The steps of the network for which CUDA has one kernel and torch two or three.

Each has a plain form, in torch's own operations, and a fused one. A fused form is used only where a
probe has found that this device accepts it and that it computes the same.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcos_core.engines.cuda_probe import agrees, dirty_memory, step_error


@dataclass(frozen=True)
class Operations:
    """How the steps are computed.

    Attributes:
        conv_relu: a convolution with bias, then ReLU.
        conv_add_relu: a convolution with bias, plus the last argument, then ReLU.
        conv_norm_relu: on each map a convolution with bias, then group norm, then ReLU.
        names: of the steps that are fused.
    """

    conv_relu: Callable[[Tensor, nn.Conv2d], Tensor]
    conv_add_relu: Callable[[Tensor, nn.Conv2d, Tensor], Tensor]
    conv_norm_relu: Callable[[Sequence[Tensor], nn.Conv2d, nn.GroupNorm], list[Tensor]]
    names: tuple[str, ...] = ()


def _plain_conv_relu(maps: Tensor, conv: nn.Conv2d) -> Tensor:
    return conv(maps).relu_()


def _plain_conv_add_relu(maps: Tensor, conv: nn.Conv2d, added: Tensor) -> Tensor:
    return conv(maps).add_(added).relu_()


def _plain_conv_norm_relu(
    levels: Sequence[Tensor], conv: nn.Conv2d, norm: nn.GroupNorm
) -> list[Tensor]:
    return [norm(conv(maps)).relu_() for maps in levels]


PLAIN = Operations(_plain_conv_relu, _plain_conv_add_relu, _plain_conv_norm_relu)


def _fused_conv_relu(maps: Tensor, conv: nn.Conv2d) -> Tensor:
    return torch.cudnn_convolution_relu(maps, conv.weight, conv.bias, *_geometry(conv), conv.groups)


def _fused_conv_add_relu(maps: Tensor, conv: nn.Conv2d, added: Tensor) -> Tensor:
    return torch.cudnn_convolution_add_relu(
        maps, conv.weight, added, 1.0, conv.bias, *_geometry(conv), conv.groups
    )


def _fused_conv_norm_relu(
    levels: Sequence[Tensor], conv: nn.Conv2d, norm: nn.GroupNorm
) -> list[Tensor]:
    from fcos_core.engines.group_norm_kernel import group_norm_relu

    # The kernel adds the bias as it reads: torch would write and read the maps once more for it.
    convolved = [
        F.conv2d(maps, conv.weight, None, *_geometry(conv), groups=conv.groups) for maps in levels
    ]
    assert conv.bias is not None
    return group_norm_relu(convolved, conv.bias, norm)


def _geometry(conv: nn.Conv2d) -> tuple[list[int], list[int], list[int]]:
    assert not isinstance(conv.padding, str)
    return list(conv.stride), list(conv.padding), list(conv.dilation)


@dataclass(frozen=True)
class Probed:
    """The operations for a device, and a line on each step that stays plain."""

    operations: Operations
    refusals: tuple[str, ...]


def probe_operations(device: torch.device, dtype: torch.dtype, norm: nn.GroupNorm | None) -> Probed:
    """Find the fused forms that this device accepts and that agree with the plain ones.

    Args:
        device: on which they run; only CUDA has fused forms.
        dtype: of maps and weights. In float16 nothing is fused: cuDNN's ReLU turns NaN into 0, and
            there an overflow, which becomes NaN, is to be expected and must be seen.
        norm: a group norm of the network, on the device, if it has one.
    """
    if device.type != "cuda":
        return Probed(PLAIN, ("nothing is fused on a CPU",))
    if dtype == torch.float16:
        return Probed(PLAIN, ("nothing is fused in float16, where overflows must stay visible",))
    found = _Search(device, dtype)
    found.try_form("convolution+ReLU", _with_conv_relu, _check_conv_relu)
    found.try_form("convolution+add+ReLU", _with_conv_add_relu, _check_conv_add_relu)
    if norm is not None:
        found.try_form("GroupNorm+ReLU", _with_conv_norm_relu, partial(_check_norm, norm=norm))
    return Probed(found.operations, tuple(found.refusals))


class _Search:
    """The fused forms that were found good, and why others were not."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.operations = PLAIN
        self.refusals: list[str] = []
        self._device, self._dtype = device, dtype

    def try_form(
        self,
        name: str,
        change: Callable[[Operations], Operations],
        check: Callable[[Operations, torch.device, torch.dtype], bool],
    ) -> None:
        changed = change(self.operations)
        changed = replace(changed, names=(*changed.names, name))
        reason = _refusal(partial(check, changed, self._device, self._dtype))
        if reason is None:
            self.operations = changed
        else:
            self.refusals.append(f"{name} stays in several kernels: {reason}")


def _with_conv_relu(operations: Operations) -> Operations:
    return replace(operations, conv_relu=_fused_conv_relu)


def _with_conv_add_relu(operations: Operations) -> Operations:
    return replace(operations, conv_add_relu=_fused_conv_add_relu)


def _with_conv_norm_relu(operations: Operations) -> Operations:
    return replace(operations, conv_norm_relu=_fused_conv_norm_relu)


def _refusal(check: Callable[[], bool]) -> str | None:
    """Why a fused form cannot be used, or None.

    Raises:
        OutOfMemoryError: the device has no memory for the check.
    """
    try:
        return None if check() else "the results differ"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a kernel misses here, torch can do without
        return (str(error).strip() or type(error).__name__).partition("\n")[0]


def _check_conv_relu(fused: Operations, device: torch.device, dtype: torch.dtype) -> bool:
    for kernel, stride in ((1, 1), (3, 1), (3, 2), (7, 2)):
        conv, maps = _example(64, kernel, stride, device, dtype)
        expected = _plain_conv_relu(maps, conv)
        dirty_memory(device)  # cuDNN gets a tensor that it must not read
        if not agrees(fused.conv_relu(maps, conv), expected, step_error(dtype)):
            return False
    return True


def _check_conv_add_relu(fused: Operations, device: torch.device, dtype: torch.dtype) -> bool:
    for kernel in (1, 3):
        conv, maps = _example(64, kernel, 1, device, dtype)
        added = conv(maps.flip(0))
        expected = _plain_conv_add_relu(maps, conv, added)
        dirty_memory(device)
        if not agrees(fused.conv_add_relu(maps, conv, added), expected, step_error(dtype)):
            return False
    return True


def _check_norm(
    fused: Operations, device: torch.device, dtype: torch.dtype, *, norm: nn.GroupNorm
) -> bool:
    conv, maps = _example(norm.num_channels, 3, 1, device, dtype)
    levels = [maps, maps[..., ::2, ::2], maps[..., :1, :1]]
    levels = [level.contiguous(memory_format=torch.channels_last) for level in levels]
    # torch rounds mean and deviation to the maps' type, so the reference is in float32.
    wide = nn.GroupNorm(norm.num_groups, norm.num_channels, norm.eps).to(device)
    wide.load_state_dict({name: value.float() for name, value in norm.state_dict().items()})
    expected = [wide(conv(level).float()).relu_() for level in levels]
    dirty_memory(device)
    found = fused.conv_norm_relu(levels, conv, norm)
    return all(
        agrees(one, other, step_error(dtype)) for one, other in zip(found, expected, strict=True)
    )


def _example(
    channels: int, kernel: int, stride: int, device: torch.device, dtype: torch.dtype
) -> tuple[nn.Conv2d, Tensor]:
    """A convolution, and maps of an odd size: kernels differ in how they treat the rest."""
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(channels, channels, kernel, stride=stride, padding=kernel // 2)
    for parameter in conv.parameters():
        nn.init.normal_(parameter, std=1 / math.sqrt(channels * kernel**2), generator=generator)
    maps = torch.randn((2, channels, 19, 27), generator=generator)
    conv = conv.to(device=device, dtype=dtype).requires_grad_(requires_grad=False)
    # The types of ``to`` with a memory format alone are unknown to the checker.
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    maps = maps.to(device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return conv, maps
