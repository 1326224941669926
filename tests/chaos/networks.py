"""Two network namespaces, like two machines, joined by a cable that can be cut."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass

HERE, THERE = "10.213.77.1", "10.213.77.2"
_END_S = 30.0


@dataclass(frozen=True)
class Cable:
    """The cable between the two namespaces.

    Attributes:
        here: name of the namespace with the address ``HERE``.
        there: name of the namespace with the address ``THERE``.
    """

    here: str
    there: str

    def cut(self) -> None:
        """Lose every packet from now on, without an error to either side."""
        ip("-n", self.there, "link", "set", "cable", "down")

    def mend(self) -> None:
        """Deliver packets again."""
        ip("-n", self.there, "link", "set", "cable", "up")


def why_not() -> str | None:
    """Say why namespaces cannot be made here; None when they can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    trial = f"fcos-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", trial], capture_output=True, check=False)  # noqa: S607
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.decode().strip()}"
    ip("netns", "del", trial)
    return None


@contextlib.contextmanager
def joined() -> Generator[Cable]:
    """Make both namespaces; at the end, kill their processes and delete them."""
    tag = uuid.uuid4().hex[:8]
    cable = Cable(f"fcos-{tag}-here", f"fcos-{tag}-there")
    made: list[str] = []
    try:
        for name in (cable.here, cable.there):
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip(
            *("-n", cable.here, "link", "add", "cable", "type", "veth"),
            *("peer", "name", "cable", "netns", cable.there),
        )
        for name, address in ((cable.here, HERE), (cable.there, THERE)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield cable
    finally:
        for name in made:
            _end_all(name)
            ip("netns", "del", name)


def command_in(name: str, command: Sequence[str]) -> list[str]:
    """The command that runs a command in a namespace."""
    return ["ip", "netns", "exec", name, *command]


def processes_in(name: str) -> list[int]:
    """Process ids of all processes in a namespace."""
    return [int(pid) for pid in ip("netns", "pids", name).split()]


def ip(*arguments: str) -> str:
    """Run iproute2's command, and return its output."""
    return subprocess.run(
        ["ip", *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _end_all(name: str) -> None:
    end = time.monotonic() + _END_S
    while (pids := processes_in(name)) and time.monotonic() < end:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
