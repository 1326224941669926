"""Runs commands of this project, and finds their processes, so that tests end no others."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def json_from(
    command: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a command that succeeds, and read the JSON in its last line of output."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


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
