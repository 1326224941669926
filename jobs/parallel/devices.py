"""The name of the processor or GPU model, as a run's fingerprint records it.

torch is imported only when a name is asked for: a driver that works on a cluster needs none.
"""

from __future__ import annotations

import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def device_model(device: str) -> str:
    """Name the model of ``cpu`` or ``cuda``; two of one name give the same numbers, bit for bit."""
    import torch

    if device == "cpu":
        # The same processor gives other numbers when an instruction set is switched off.
        return f"{_cpu_brand()} ({torch.backends.cpu.get_cpu_capability()})"
    return torch.cuda.get_device_name(device)


def cpu_has_bf16() -> bool:
    """Whether this processor has instructions for bfloat16; where nothing says so, it has none."""
    return bool(_cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def _cpu_flags() -> frozenset[str]:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in {"flags", "Features"}:
                return frozenset(value.split())
    return frozenset()


def _cpu_brand() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()
