"""Step 1: the machine, and what its arithmetic and its bus give at best."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.context import Context
from fcos_core import FCOS

PACKAGES = (
    "torch", "torchvision", "triton", "numpy", "opencv-python-headless", "jaxtyping", "safetensors",
    "simplejpeg", "pillow", "pyarrow", "av", "ray",
)  # fmt: skip


def run(context: Context) -> None:
    context.record(
        "machine",
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        versions={name: _version(name) for name in PACKAGES},
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        **(_gpu(context) if context.is_cuda else {"device": "cpu"}),
    )
    context.try_part("operations per image", lambda: _count(context))
    context.try_part("matrix product", lambda: _matmul(context))
    context.try_part("convolution", lambda: _convolution(context))
    context.try_part("copy to the device", lambda: _copy(context))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu(context: Context) -> dict[str, object]:
    properties = torch.cuda.get_device_properties(context.device)
    asked = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"],  # noqa: E501, S607
        capture_output=True, text=True, check=False,
    ) if os.path.exists("/usr/bin/nvidia-smi") else None  # noqa: PTH110  # fmt: skip
    return {
        "device": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count,
        "driver": asked.stdout.strip() if asked else "unknown",
    }


def _count(context: Context) -> None:
    """Multiplications and additions of one image, counted on a device without memory."""
    with torch.device("meta"):
        model = FCOS(context.config()).eval()
        pixels = torch.empty(1, 3, *context.shape())
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model(pixels)
    context.record(
        "operations per image",
        shape=list(context.shape()),
        gflop=round(counter.get_total_flops() / 1e9, 1),
    )


def _matmul(context: Context) -> None:
    side = context.sizes.side
    left = torch.randn(side, side, device=context.device).bfloat16()
    right = torch.randn(side, side, device=context.device).bfloat16()
    seconds = context.seconds(lambda: left @ right, repeats=10 if context.is_cuda else 1)
    context.record("matrix product", side=side, tflops=float(f"{2 * side**3 / seconds / 1e12:.4g}"))


def _convolution(context: Context) -> None:
    batch, rows, columns = (32, 100, 136) if context.is_cuda else (1, 16, 16)
    maps = torch.randn(batch, 256, rows, columns, device=context.device).bfloat16()
    maps = maps.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3, device=context.device).bfloat16()
    weight = weight.contiguous(memory_format=torch.channels_last)
    for is_chosen in (False, True):  # by timing
        with torch.backends.cudnn.flags(enabled=True, benchmark=is_chosen):
            seconds = context.seconds(lambda: F.conv2d(maps, weight, padding=1))
        flop = 2 * batch * rows * columns * 256 * 256 * 9
        context.record(
            "convolution", chosen_by_timing=is_chosen, tflops=float(f"{flop / seconds / 1e12:.4g}")
        )


def _copy(context: Context) -> None:
    size = 2**28 if context.is_cuda else 2**20
    pinned = torch.empty(size, dtype=torch.uint8, pin_memory=context.is_cuda)
    target = torch.empty(size, dtype=torch.uint8, device=context.device)
    seconds = context.seconds(lambda: target.copy_(pinned, non_blocking=True))
    context.record("copy to the device", gb_per_s=round(size / seconds / 1e9, 1))
