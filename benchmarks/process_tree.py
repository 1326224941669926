"""Runs a command and measures it with all processes that come of it: its time, its most memory."""

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


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a command took.

    Attributes:
        wall_s: from its start until it ended.
        peak_mib: the most its processes held together, looked at once a second; a page that several
            of them share counts once (PSS). None where there is no ``/proc``.
        stdout: what it wrote there.
    """

    wall_s: float
    peak_mib: float | None
    stdout: str


def measure(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Measured:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: all of it.
        log: gets its standard error.

    Raises:
        SystemExit: it failed; the end of its log is in the message.
    """
    started = time.perf_counter()
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 -- our own command
            command, env=dict(environment), stdout=subprocess.PIPE, stderr=errors, text=True
        )
        watch = _Watch(process.pid)
        stdout, _ = process.communicate()
        wall_s = time.perf_counter() - started
        peak_mib = watch.end()
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise SystemExit(f"{' '.join(command)}\nended with code {process.returncode}:\n{tail}")
    return Measured(wall_s=wall_s, peak_mib=peak_mib, stdout=stdout)


class _Watch:
    """Adds up a process tree's memory from a thread, until told to end."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._peak_kib = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> float | None:
        self._ended.set()
        self._thread.join()
        return self._peak_kib / _KIB_PER_MIB or None

    def _look(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            total = sum(_proportional_kib(process) for process in _descendants(self._root))
            self._peak_kib = max(self._peak_kib, total)


def _descendants(root: int) -> list[int]:
    """Give a process and all that came of it, as long as their parents live."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if entry.name.isdigit():
            children.setdefault(_parent(int(entry.name)), []).append(int(entry.name))
    found = [root]
    for process in found:  # grows while we walk it
        found.extend(children.get(process, ()))
    return found


def _parent(process: int) -> int:
    try:
        stat = (_PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0  # it ended meanwhile
    return int(stat.rpartition(")")[2].split()[1])


def _proportional_kib(process: int) -> int:
    try:
        lines = (_PROC / str(process) / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0  # it ended meanwhile, or it is not ours
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
