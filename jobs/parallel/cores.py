"""How many cores a process may keep busy."""

from __future__ import annotations

import os
from pathlib import Path

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def num_cores() -> int:
    """Count the cores this process may keep busy, by affinity and by its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    if _CPU_QUOTA.is_file():
        quota, period = _CPU_QUOTA.read_text(encoding="utf-8").split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores
