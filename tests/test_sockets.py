"""Where processes can be reached, as ``tests/sockets.py`` finds it."""

import os
import socket

import pytest

from tests.sockets import exposed_sockets


@pytest.mark.parametrize(
    ("family", "kind", "address", "is_seen"),
    [
        pytest.param(socket.AF_INET, socket.SOCK_STREAM, ("", 0), True, id="every-address"),
        pytest.param(socket.AF_INET6, socket.SOCK_STREAM, ("::", 0), True, id="every-address-6"),
        pytest.param(socket.AF_INET, socket.SOCK_DGRAM, ("", 0), True, id="udp"),
        pytest.param(socket.AF_UNIX, socket.SOCK_STREAM, "\0fcos-test", True, id="abstract"),
        pytest.param(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0), False, id="loopback"),
        pytest.param(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0), False, id="loopback-6"),
    ],
)
def test_a_socket_is_seen_unless_it_is_on_loopback(
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    address: tuple[str, int] | str,
    *,
    is_seen: bool,
) -> None:
    before = exposed_sockets(os.getpid())
    try:
        server = socket.socket(family, kind)
    except OSError:
        pytest.skip("this kernel has no IPv6")
    with server:
        server.bind(address)
        if kind == socket.SOCK_STREAM:
            server.listen()
        assert bool(exposed_sockets(os.getpid()) - before) == is_seen
    assert exposed_sockets(os.getpid()) == before
