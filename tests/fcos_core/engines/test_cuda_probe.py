"""What counts as the same result, and which fused forms the probe lets through."""

import pytest
import torch
from torch import Tensor, nn

from fcos_core.engines import operations
from fcos_core.engines.cuda_probe import agrees, dirty_memory, network_error, step_error
from fcos_core.engines.operations import PLAIN, Operations

CPU = torch.device("cpu")
TYPES = [torch.bfloat16, torch.float16, torch.float32]


@pytest.mark.parametrize("dtype", TYPES)
def test_rounding_agrees(dtype: torch.dtype) -> None:
    exact = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    assert agrees(exact.to(dtype), exact.float(), step_error(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("error", [step_error, network_error])
def test_wrong_place_bias_or_value_does_not_agree(dtype: torch.dtype, error) -> None:
    exact = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    broken = exact.clone()
    broken[0] = float("nan")

    assert not agrees(exact.roll(1).to(dtype), exact, error(dtype))
    assert not agrees((exact + 0.5).to(dtype), exact, error(dtype))
    assert not agrees(exact.relu().to(dtype), exact, error(dtype))
    assert not agrees(broken.to(dtype), exact, error(dtype))
    assert not agrees(broken.to(dtype), broken, error(dtype))


def test_constant_result_is_compared_with_its_size() -> None:
    constant = torch.full((100,), -4.6)

    assert agrees(constant.bfloat16(), constant, step_error(torch.bfloat16))
    assert not agrees(constant + 0.1, constant, step_error(torch.bfloat16))


def test_dirty_memory_leaves_nothing_allocated() -> None:
    assert dirty_memory(CPU, large_bytes=1000) is None


def _wrong(maps: Tensor, conv: nn.Conv2d) -> Tensor:
    return conv(maps)


def _impossible(maps: Tensor, conv: nn.Conv2d) -> Tensor:
    del maps, conv
    raise RuntimeError("FIND was unable to find an engine\nmore about it")


def _exhausting(maps: Tensor, conv: nn.Conv2d) -> Tensor:
    del maps, conv
    raise torch.OutOfMemoryError("no memory")


def _tried(form, dtype: torch.dtype = torch.float32) -> operations._Search:
    search = operations._Search(CPU, dtype)

    def change(before: Operations) -> Operations:
        return Operations(form, before.conv_add_relu, before.conv_norm_relu)

    search.try_form("convolution+ReLU", change, operations._check_conv_relu)
    return search


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_form_that_computes_the_same_is_used(dtype: torch.dtype) -> None:
    def form(maps: Tensor, conv: nn.Conv2d) -> Tensor:
        return conv(maps).relu()

    search = _tried(form, dtype)

    assert search.operations.conv_relu is form
    assert search.operations.names == ("convolution+ReLU",)
    assert search.refusals == []


@pytest.mark.parametrize(
    ("form", "reason"), [(_wrong, "the results differ"), (_impossible, "unable to find an engine")]
)
def test_form_that_fails_is_refused_with_the_reason(form, reason: str) -> None:
    search = _tried(form)

    assert search.operations is PLAIN
    assert len(search.refusals) == 1
    assert reason in search.refusals[0]
    assert "\n" not in search.refusals[0]


def test_memory_that_runs_out_is_no_refusal() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        _tried(_exhausting)


def test_all_checks_pass_for_the_plain_forms() -> None:
    norm = nn.GroupNorm(8, 32)

    assert operations._check_conv_relu(PLAIN, CPU, torch.float32)
    assert operations._check_conv_add_relu(PLAIN, CPU, torch.bfloat16)
    assert operations._check_norm(PLAIN, CPU, torch.float32, norm=norm)


def test_check_finds_a_norm_without_its_bias() -> None:
    def without_bias(levels, conv, norm):
        return [norm(nn.functional.conv2d(m, conv.weight, padding=1)).relu() for m in levels]

    changed = Operations(PLAIN.conv_relu, PLAIN.conv_add_relu, without_bias)
    # One channel per group: there the norm alone would remove the bias.
    assert not operations._check_norm(changed, CPU, torch.float32, norm=nn.GroupNorm(8, 32))


def test_fused_calls_take_the_arguments_that_torch_declares() -> None:
    """Without a GPU the calls fail, but for want of a device and not of an argument."""
    conv = nn.Conv2d(8, 8, 3, stride=2, padding=1).requires_grad_(requires_grad=False)
    maps = torch.zeros(1, 8, 9, 9)

    for call in (
        lambda: operations._fused_conv_relu(maps, conv),
        lambda: operations._fused_conv_add_relu(maps, conv, conv(maps)),
    ):
        with pytest.raises(NotImplementedError, match="CPU"):
            call()
