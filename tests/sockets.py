"""Finds the sockets by which a process and its descendants can be reached from elsewhere."""

import contextlib
import socket
import threading
from collections.abc import Generator
from pathlib import Path

from tests.processes import children_below

_LISTENS, _UNCONNECTED = "0A", "07"
_TABLES = {"tcp": _LISTENS, "tcp6": _LISTENS, "udp": _UNCONNECTED, "udp6": _UNCONNECTED}
_LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def exposed_sockets(pid: int) -> set[str]:
    """Name the sockets by which other machines, or any local user, reach a process or those below.

    These are listening ports that are not on a loopback address, unconnected UDP ports, and
    listening unix sockets of the abstract namespace, which has no permissions.
    """
    by_link = _inet_sockets() | _abstract_sockets()
    found: set[str] = set()
    for process, name in {**children_below(pid), pid: "the process itself"}.items():
        with contextlib.suppress(OSError):  # it has just ended
            for descriptor in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    link = str(descriptor.readlink())
                    if link in by_link:
                        found.add(f"{by_link[link]} of {name}")
    return found


@contextlib.contextmanager
def exposed_meanwhile(pid: int) -> Generator[set[str]]:
    """Look again and again while the block runs; the set is whole at its end."""
    found: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            found.update(exposed_sockets(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _inet_sockets() -> dict[str, str]:
    """Sockets that are reached from elsewhere, by the links that descriptors are in /proc."""
    found: dict[str, str] = {}
    for table, state in _TABLES.items():
        for line in _lines(f"/proc/net/{table}"):
            local, own_state, inode = line[1], line[3], line[9]
            address, _, port = local.partition(":")
            if own_state == state and (name := _address(address)) not in _LOOPBACK:
                found[f"socket:[{inode}]"] = f"{table} {name} port {int(port, 16)}"
    return found


def _abstract_sockets() -> dict[str, str]:
    accepts = 0x10000
    return {
        f"socket:[{line[6]}]": f"unix {line[7]}"
        for line in _lines("/proc/net/unix")
        if len(line) > 7 and line[7].startswith("@") and int(line[3], 16) & accepts
    }


def _lines(path: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(path).read_text().splitlines()[1:]]
    except FileNotFoundError:
        return []  # a kernel without IPv6


def _address(digits: str) -> str:
    """The kernel writes an address as words in the order of its own bytes."""
    raw = bytes.fromhex(digits)
    raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
