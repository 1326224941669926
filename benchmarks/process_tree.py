"""Runs a command and measures it with all its descendants, and the load of other programs."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_INTERVAL_S = 1.0
_KIB_PER_MIB = 1024
_TICKS_PER_S = 100  # of /proc, on every Linux

# Fields of /proc/PID/stat after the name, and of the first line of /proc/stat (proc(5)).
_PARENT, _USER, _SYSTEM = 1, 11, 12
_BUSY = (1, 2, 3, 6, 7)  # user, nice, system, irq, softirq


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a command took.

    Attributes:
        wall_s: from its start until it ended.
        peak_mib: the most its processes held together, looked at once a second; a page that several
            of them share counts once (PSS). None where there is no ``/proc``.
        largest_mib: the most any one of them ever had resident, with all shared pages. None as
            above.
        first_mib: the most the command's own process ever had. None as above.
        other_mib: the most any process but that ever had. None as above.
        cpu_s: what its processes computed together, looked at once a second. None as above.
        others_cores: how many cores all other programs kept busy meanwhile. None as above.
        stdout: what it wrote there.
    """

    wall_s: float
    peak_mib: float | None
    largest_mib: float | None
    first_mib: float | None
    other_mib: float | None
    cpu_s: float | None
    others_cores: float | None
    stdout: str


def measure(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Measured:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: all variables of the command.
        log: the file for its standard error.

    Raises:
        SystemExit: the command failed; the message has the end of its log.
    """
    busy_s = _machine_s()
    started = time.perf_counter()
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 -- our own command
            command, env=dict(environment), stdout=subprocess.PIPE, stderr=errors, text=True
        )
        watch = _Watch(process.pid)
        try:
            stdout, _ = process.communicate()
        finally:
            process.terminate()  # an interrupt of this program is meant for the command, too
            process.wait()
        wall_s = time.perf_counter() - started
        busy_s = _machine_s() - busy_s
        watch.end()
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise SystemExit(f"{' '.join(command)}\nended with code {process.returncode}:\n{tail}")
    if not busy_s:
        return Measured(
            wall_s=wall_s,
            peak_mib=None,
            largest_mib=None,
            first_mib=None,
            other_mib=None,
            cpu_s=None,
            others_cores=None,
            stdout=stdout,
        )
    return Measured(
        wall_s=wall_s,
        peak_mib=watch.peak_kib / _KIB_PER_MIB,
        largest_mib=watch.largest_kib / _KIB_PER_MIB,
        first_mib=watch.first_kib / _KIB_PER_MIB,
        other_mib=watch.other_kib / _KIB_PER_MIB,
        cpu_s=watch.cpu_s,
        others_cores=max(0.0, busy_s - watch.cpu_s) / wall_s,
        stdout=stdout,
    )


class _Watch:
    """Adds up the memory and time of a process tree from a thread, until it is stopped."""

    def __init__(self, root: int) -> None:
        self.peak_kib = 0
        self.largest_kib = 0
        self.first_kib = 0
        self.other_kib = 0
        self._root = root
        self._cpu_s: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu_s.values())

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            processes = _descendants(self._root)
            held = [_memory_kib(process) for process in processes]
            self.peak_kib = max(self.peak_kib, sum(proportional for _, proportional in held))
            self.largest_kib = max(self.largest_kib, *(peak for peak, _ in held))
            self.first_kib = max(self.first_kib, held[0][0])
            self.other_kib = max(self.other_kib, *(peak for peak, _ in held[1:]), 0)
            for process in processes:
                if stat := _stat(process):
                    ticks = int(stat[_USER]) + int(stat[_SYSTEM])
                    self._cpu_s[process] = ticks / _TICKS_PER_S


def _descendants(root: int) -> list[int]:
    """Give a process and its descendants; those whose parent has ended are missing."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if entry.name.isdigit():
            process = int(entry.name)
            if stat := _stat(process):
                children.setdefault(int(stat[_PARENT]), []).append(process)
    found = [root]
    for process in found:  # grows while we walk it
        found.extend(children.get(process, ()))
    return found


def _stat(process: int) -> list[str]:
    """Give the fields after the program's name; none when the process has ended."""
    try:
        stat = (_PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


def _machine_s() -> float:
    """Give the seconds that all cores together were busy since the machine's start, or 0."""
    try:
        total = (_PROC / "stat").read_text(encoding="utf-8").splitlines()[0].split()
    except OSError:
        return 0.0
    return sum(int(total[i]) for i in _BUSY) / _TICKS_PER_S


def _memory_kib(process: int) -> tuple[int, int]:
    """Give the most a process ever had resident, and what it has now, its share of shared pages."""
    folder = _PROC / str(process)
    try:
        lines = (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines()
        lines += (folder / "smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return 0, 0  # it ended meanwhile, or it is not ours
    sizes = {name: rest.split() for name, _, rest in (one.partition(":") for one in lines)}
    return int(sizes["VmHWM"][0]), int(sizes["Pss"][0])
