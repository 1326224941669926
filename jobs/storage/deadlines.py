"""HTTP connections that give a whole response a deadline, not only its next bytes.

The timeout of a socket begins anew with every byte, so a server that sends one byte a second would
hold a thread for days.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
import weakref
from typing import Any, NamedTuple, TypeVar, cast

C = TypeVar("C", bound=http.client.HTTPConnection)

_LONGEST_SLEEP_S = 3600.0


class _End(NamedTuple):
    """When a socket is shut down, unless the response is read to its end before."""

    at: float
    response: weakref.ref[Any] | None

    def is_read(self) -> bool:
        from urllib3.util.response import is_fp_closed  # needed only with a network

        if self.response is None:
            return False  # its headers have not come
        response = self.response()
        return response is None or is_fp_closed(response)


class _Deadlines:
    """Shuts down sockets whose time is over, by one thread for all of them.

    The thread that reads then meets the end of the stream, as if the server had closed it.
    """

    def __init__(self) -> None:
        self._ends = weakref.WeakKeyDictionary[socket.socket, _End]()
        self._changed = threading.Condition()
        self._wakes_at = 0.0
        self._thread: threading.Thread | None = None

    def set(self, connection: socket.socket, seconds: float, response: object = None) -> None:
        """Give a socket a deadline, until the response is read; it replaces the socket's last."""
        end = time.monotonic() + seconds
        with self._changed:
            self._ends[connection] = _End(end, None if response is None else weakref.ref(response))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif end < self._wakes_at:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for late in [sock for sock, end in self._ends.items() if end.at <= now]:
                    if self._ends.pop(late).is_read():
                        continue  # the connection is idle, or busy with its next request
                    with contextlib.suppress(OSError):  # it is closed already
                        # SSLSocket's own method would take the TLS state from under the reader.
                        socket.socket.shutdown(late, socket.SHUT_RDWR)
                ends = (end.at for end in self._ends.values())
                self._wakes_at = min(ends, default=now + _LONGEST_SLEEP_S)
                self._changed.wait(self._wakes_at - now)


_deadlines = _Deadlines()


def _after_fork() -> None:
    global _deadlines  # noqa: PLW0603 -- the thread is the parent's, and it may have held the lock
    _deadlines = _Deadlines()


os.register_at_fork(after_in_child=_after_fork)


class BoundedConnection(http.client.HTTPConnection):
    """Bounds the time from the end of a request to the end of its response.

    A mixin for http.client's connections and those of urllib3 and botocore.
    """

    response_timeout_s = 300.0

    def send(self, data: Any) -> None:  # noqa: ANN401 -- as in the base class
        super().send(data)
        self._renew()  # a response to "Expect: 100-continue" is read before the body is sent

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as in the base class
        connection, began_s = self.sock, time.monotonic()  # the class may give its socket away
        self._renew()
        response = super().getresponse(*args, **kwargs)
        left_s = self.response_timeout_s - (time.monotonic() - began_s)
        if connection is not None:
            _deadlines.set(connection, left_s, response)
        return response

    def _renew(self) -> None:
        if self.sock is not None:
            _deadlines.set(self.sock, self.response_timeout_s)


def bounded(connection: type[C], response_timeout_s: float) -> type[C]:
    """Derive a class of connections whose responses have a deadline."""
    name, bases = f"Bounded{connection.__name__}", (BoundedConnection, connection)
    return cast("type[C]", type(name, bases, {"response_timeout_s": response_timeout_s}))
