"""Finds the processes that a test has started, so that it ends those and no others."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any


def children_below(pid: int) -> dict[int, str]:
    """All running descendants of a process, with their command lines."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = (folder / "stat").read_text()
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue  # it has just ended
        state, parent = status.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(folder.name)] = int(parent)
            names[int(folder.name)] = command.strip()
    found: dict[int, str] = {}
    wanted = {pid}
    while new := {child for child, parent in parents.items() if parent in wanted} - found.keys():
        found |= {child: names[child] for child in new}
        wanted |= new
    return found


def actors_below(pid: int) -> list[int]:
    """The process ids of the workers of a driver."""
    names = children_below(pid)
    return [child for child, title in names.items() if title.startswith("ray::WorkerActor")]


def is_gone(pid: int) -> bool:
    """Say whether a process of this machine has ended."""
    return pid not in children_below(1)


def wait_until(is_true: Callable[[], Any], *, timeout_s: float = 600.0) -> None:
    """Wait for a moment; one that does not come fails the test."""
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end, f"not true after {timeout_s} s"
        time.sleep(0.01)


@contextlib.contextmanager
def busy_loops(count: int) -> Generator[None]:
    """Keep some processors busy beside the block."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
