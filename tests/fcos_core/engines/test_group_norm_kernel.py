"""The Triton kernel: computed by Triton's interpreter, and compiled for GPUs that are not here."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed"),
]


def _run(program: str, folder: Path, *, is_interpreted: bool) -> str:
    # The interpreter is chosen when Triton is imported, so each program has its own process.
    environment = os.environ | {"TRITON_CACHE_DIR": str(folder)}
    environment["TRITON_INTERPRET"] = "1" if is_interpreted else "0"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


EQUALITY = """
import torch
from torch import nn
from torch.nn import functional as F
from fcos_core.engines.group_norm_kernel import group_norm_relu

torch.manual_seed(0)
torch.set_grad_enabled(False)
for channels, groups, dtype, num_levels in (
    (64, 32, torch.float32, 5), (64, 32, torch.bfloat16, 3), (32, 8, torch.float16, 1),
    (32, 32, torch.float32, 6),
):
    norm = nn.GroupNorm(groups, channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm = norm.to(dtype)
    bias = torch.randn(channels).to(dtype) * 3
    sizes = ((23, 29), (10, 14), (16, 16), (2, 3), (1, 1), (5, 7))[:num_levels]
    levels = [
        (torch.randn(3, channels, *size) * 2 + 5).to(dtype).contiguous(
            memory_format=torch.channels_last)
        for size in sizes
    ]
    found = group_norm_relu(levels, bias, norm)
    again = group_norm_relu([level[1:2].contiguous(memory_format=torch.channels_last)
                             for level in levels], bias, norm)
    for level, one, alone in zip(levels, found, again, strict=True):
        wide = level.double() + bias.double()[:, None, None]
        expected = F.relu(F.group_norm(
            wide, groups, norm.weight.double(), norm.bias.double(), norm.eps))
        limit = 2.0 ** -20 if dtype == torch.float32 else torch.finfo(dtype).eps
        # Half a unit in the last place, and where values cancel, some of float32's.
        difference = (one.double() - expected).abs()
        if level.shape[-1] > 1:
            assert bool((difference <= limit * expected.abs() + 5e-6).all()), difference.max()
        else:
            assert float(difference.max()) <= 2e-2, difference.max()
        assert one.is_contiguous(memory_format=torch.channels_last)
        assert one.dtype == dtype
        assert torch.equal(one[1:2], alone)
level = torch.randn(2, 64, 20, 20).contiguous(memory_format=torch.channels_last)
level[1, 3, 4, 5] = float("nan")
(found,) = group_norm_relu([level], torch.zeros(64), nn.GroupNorm(32, 64))
assert bool(found[0].isfinite().all())
assert bool(found[1, 2:4].isnan().all()) and bool(found[1, 4:].isfinite().all())
far = (torch.randn(1, 64, 20, 20) + 1e4).contiguous(memory_format=torch.channels_last)
(found,) = group_norm_relu([far], torch.zeros(64), nn.GroupNorm(32, 64))
expected = F.relu(F.group_norm(far.double(), 32))
assert float((found - expected).abs().max()) < 0.01  # values of 1e4 are themselves rounded to 0.001
for broken in (
    lambda: group_norm_relu([torch.zeros(1, 48, 4, 4)], torch.zeros(48), nn.GroupNorm(8, 48)),
    lambda: group_norm_relu([torch.zeros(1, 64, 4, 4)], torch.zeros(64), nn.GroupNorm(8, 64)),
):
    try:
        broken()
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
def test_kernel_equals_torch_and_an_image_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    said = _run(EQUALITY, tmp_path, is_interpreted=True)

    assert said.splitlines() == [
        "48 channels in 8 groups: must be powers of two",
        "maps must be contiguous with channels last",
    ]


COMPILATION = """
import re
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fcos_core.engines import group_norm_kernel

CONSTANTS = {"CHANNELS": 256, "GROUPS": 32, "PIECE": 256, "TILE": 32, "PIECES_AT_ONCE": 64}
for kernel in (group_norm_kernel._measure, group_norm_kernel._normalise):
    signature = {}
    for name in kernel.arg_names:
        if name in CONSTANTS:
            signature[name] = "constexpr"
        elif name.startswith(("size", "end")):
            signature[name] = "i32"
        else:
            signature[name] = {"pieces": "*fp32", "epsilon": "fp32"}.get(name, "*bf16")
    constants = {name: CONSTANTS[name] for name in kernel.arg_names if name in CONSTANTS}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(kernel.arg_names) if signature[name].startswith("*")
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    for capability in (80, 90):
        compiled = triton.compile(
            source, target=GPUTarget("cuda", capability, 32),
            options={"num_warps": 8, "enable_fp_fusion": True},
        )
        wide = set(re.findall(r"(?:ld|st).global.v4.b32", compiled.asm["ptx"]))
        print(kernel.__name__, capability, len(compiled.asm["cubin"]) > 0, *sorted(wide))
"""


def test_kernel_compiles_for_gpus_with_wide_loads_and_stores(tmp_path: Path) -> None:
    said = _run(COMPILATION, tmp_path, is_interpreted=False)

    assert said.splitlines() == [
        "_measure 80 True ld.global.v4.b32",
        "_measure 90 True ld.global.v4.b32",
        "_normalise 80 True ld.global.v4.b32 st.global.v4.b32",
        "_normalise 90 True ld.global.v4.b32 st.global.v4.b32",
    ]
