"""How much memory is free: of the machine, or of the container in which this process runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_KIB = 1024


class Memory:
    """The memory that all processes share; outside Linux it is taken to be unlimited."""

    def total_bytes(self) -> int:
        limit = _cgroup_limit()
        machine = _meminfo("MemTotal")
        return machine if limit is None else min(machine, limit)

    def free_bytes(self) -> int:
        """Return what is free before the kernel kills a process to free more."""
        machine, limit = _meminfo("MemAvailable"), _cgroup_limit()
        return machine if limit is None else min(machine, limit - _cgroup_used())

    def held_bytes(self, pid: int) -> int:
        """Return what a process holds; 0 when the process has ended."""
        try:
            pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _meminfo(name: str) -> int:
    if not _MEMINFO.is_file():
        return sys.maxsize
    lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    values = {key: value for key, _, value in (line.partition(":") for line in lines)}
    return int(values[name].split()[0]) * _KIB


def _cgroup_limit() -> int | None:
    path = _CGROUP / "memory.max"
    text = path.read_text(encoding="ascii").strip() if path.is_file() else "max"
    return None if text == "max" else int(text)


def _cgroup_used() -> int:
    used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    lines = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
    reclaimable = [int(line.split()[1]) for line in lines if line.startswith("inactive_file ")]
    return used - sum(reclaimable)  # the kernel frees such pages when memory is needed
