"""Two machines to the network: namespaces of this one, joined by a cable that can be cut."""

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
    """What joins them.

    Attributes:
        here: name of the namespace that has the address ``HERE``.
        there: of the one that has ``THERE``.
    """

    here: str
    there: str

    def cut(self) -> None:
        """From now on every packet is lost, and nobody is told."""
        ip("-n", self.there, "link", "set", "cable", "down")

    def mend(self) -> None:
        """Let packets through again."""
        ip("-n", self.there, "link", "set", "cable", "up")


def why_not() -> str | None:
    """Say what is missing to make namespaces here, if anything is."""
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
    """Make both, and end all that runs in them when it is over."""
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
    """The command that runs another one in a namespace."""
    return ["ip", "netns", "exec", name, *command]


def processes_in(name: str) -> list[int]:
    """Process ids of all that runs there."""
    return [int(pid) for pid in ip("netns", "pids", name).split()]


def ip(*arguments: str) -> str:
    """Run iproute2's command, and return what it says."""
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
