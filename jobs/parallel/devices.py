"""The name of the processor or GPU model, as a run's fingerprint records it.

torch is imported only where nothing else knows: a driver on Linux asks the kernel.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import NamedTuple

from fcos_core.engines.choice import gpu_has_bf16
from jobs.parallel.libraries import Libraries, installed_libraries

_CPU_INFO = Path("/proc/cpuinfo")
_DEVICE_FILES = ("nvidia[0-9]*", "nvmap", "dxg", "kfd")
"""What a driver of GPUs makes in ``/dev``: NVIDIA's, on Tegra and under Windows too, and AMD's."""

# torch chooses its own kernels by these, the first that a processor has all flags of.
_KERNELS = {
    "AVX512": ("avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"),
    "AVX2": ("avx2", "fma"),
}
_CHOSEN_KERNELS = "ATEN_CPU_CAPABILITY"  # a variable that overrides the choice
_NO_KERNELS = "DEFAULT"
# oneDNN and OpenVINO choose theirs by these as well.
_EXTENSIONS = {"BF16": "avx512_bf16", "AMX": "amx_bf16"}
_UNKNOWN_TO_US = "avx10"  # newer kernels, of which only torch knows whether it has them


class Device(NamedTuple):
    """A device's model, whether it computes in bfloat16 itself, and what is installed beside it.

    ``free_bytes`` are those of a GPU's memory that nobody uses; None of a CPU.
    """

    model: str
    has_bf16: bool
    libraries: Libraries
    free_bytes: int | None = None


class CpuInfo(NamedTuple):
    """A processor's name and what it can do, in the kernel's words."""

    brand: str
    flags: frozenset[str]


def find_device(device: str) -> Device:
    """Look at ``cpu``, or at the first CUDA device."""
    if device == "cpu":
        return Device(device_model(device), cpu_has_bf16(), installed_libraries())
    import torch

    capability = torch.cuda.get_device_capability(device)
    free_bytes, _ = torch.cuda.mem_get_info(device)
    has_bf16 = gpu_has_bf16(capability)
    return Device(device_model(device), has_bf16, installed_libraries(), free_bytes)


def device_model(device: str) -> str:
    """Name the model of ``cpu`` or ``cuda``; two of one name give the same numbers, bit for bit."""
    if device == "cpu":
        # The same processor gives other numbers when an instruction set is switched off.
        info = read_cpu_info()
        extensions = [name for name, flag in _EXTENSIONS.items() if flag in info.flags]
        kernels = cpu_kernels(info.flags) or _kernels_of_torch()
        return f"{info.brand} ({', '.join([kernels, *extensions])})"
    import torch

    return torch.cuda.get_device_name(device)


def cpu_has_bf16() -> bool:
    """Whether this processor has instructions for bfloat16; where nothing says so, it has none."""
    return bool(read_cpu_info().flags & {*_EXTENSIONS.values(), "bf16"})


def num_gpus() -> int:
    """Count the GPUs that torch can use; this imports torch."""
    import torch

    return torch.cuda.device_count()


def may_have_gpu(folder: Path = Path("/dev")) -> bool:
    """Say whether it is worth asking torch for GPUs: whether a driver has made a device file."""
    return sys.platform != "linux" or any(
        next(folder.glob(pattern), None) is not None for pattern in _DEVICE_FILES
    )


def needs_torch() -> bool:
    """Say whether the name of this machine's processor is known to torch alone."""
    return cpu_kernels(read_cpu_info().flags) is None


def read_cpu_info() -> CpuInfo:
    """Read what Linux says about the first processor; elsewhere no flags are known."""
    fields: dict[str, str] = {}
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value)
    brand = " ".join(fields.get("model name", "").split())
    return CpuInfo(
        brand or platform.processor() or platform.machine(),
        frozenset((fields.get("flags") or fields.get("Features", "")).split()),
    )


def cpu_kernels(flags: frozenset[str]) -> str | None:
    """Say which of its kernels torch takes on a processor with these flags.

    Returns:
        The name as ``torch.backends.cpu.get_cpu_capability`` gives it; None where only torch knows.
    """
    if platform.machine() not in {"x86_64", "AMD64"} or not flags:
        return None
    if any(flag.startswith(_UNKNOWN_TO_US) for flag in flags):
        return None
    chosen = {name.lower(): name for name in (*_KERNELS, _NO_KERNELS)}.get(
        os.environ.get(_CHOSEN_KERNELS, "")
    )
    if chosen is not None:
        return chosen
    return next(
        (name for name, needed in _KERNELS.items() if flags.issuperset(needed)), _NO_KERNELS
    )


def _kernels_of_torch() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()
