"""What a process computes on, by the name that a run's fingerprint holds.

torch is imported when something is asked: a driver that asks a cluster needs none.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fcos_core.errors import ConfigError
from jobs.parallel.cores import num_cores

_CPU_INFO = Path("/proc/cpuinfo")
_PROBE_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What there is to compute with.

    Attributes:
        num_cpus: cores.
        num_gpus: CUDA devices.
        device: ``cuda`` where there is one, else ``cpu``.
        device_model: of the first one found; see ``device_model``.
    """

    num_cpus: int
    num_gpus: int
    device: str
    device_model: str


def device_model(device: str) -> str:
    """Name the model of a device; two of one name give the same numbers, bit for bit.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    import torch

    if device == "cpu":
        # The same processor computes otherwise when an instruction set is switched off.
        return f"{_cpu_brand()} ({torch.backends.cpu.get_cpu_capability()})"
    return torch.cuda.get_device_name(device)


def local_resources() -> Resources:
    """Look at this machine."""
    import torch

    num_gpus = torch.cuda.device_count()
    device = "cuda" if num_gpus else "cpu"
    return Resources(
        num_cpus=num_cores(),
        num_gpus=num_gpus,
        device=device,
        device_model=_name_in_another_process() if num_gpus else device_model(device),
    )


def _name_in_another_process() -> str:
    """Ask for the GPU's name where the memory that asking takes is given back.

    Raises:
        ConfigError: the GPU does not answer.
    """
    code = "from jobs.parallel.devices import device_model; print(device_model('cuda'))"
    answer = subprocess.run(  # noqa: S603 -- our own interpreter and our own words
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=_PROBE_TIMEOUT_S,
        check=False,
    )
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"the GPU cannot be used: {reason}")
    return answer.stdout.strip()


def _cpu_brand() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()
