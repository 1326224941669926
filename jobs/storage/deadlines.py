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
from typing import Any, TypeVar, cast

C = TypeVar("C", bound=http.client.HTTPConnection)


class _Deadlines:
    """Shuts down sockets whose time is over, by one thread for all of them.

    The thread that reads then meets the end of the stream, as if the server had closed it.
    """

    def __init__(self) -> None:
        self._ends: weakref.WeakKeyDictionary[socket.socket, float] = weakref.WeakKeyDictionary()
        self._changed = threading.Condition()
        self._wakes_at = 0.0
        self._thread: threading.Thread | None = None

    def set(self, connection: socket.socket, seconds: float) -> None:
        """Give a socket a deadline; it replaces the socket's last one."""
        end = time.monotonic() + seconds
        with self._changed:
            self._ends[connection] = end
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif end < self._wakes_at:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for late in [sock for sock, end in self._ends.items() if end <= now]:
                    del self._ends[late]
                    with contextlib.suppress(OSError):  # it is closed already
                        # SSLSocket's own method would take the TLS state from under the reader.
                        socket.socket.shutdown(late, socket.SHUT_RDWR)
                self._wakes_at = min(self._ends.values(), default=now + _LONGEST_SLEEP_S)
                self._changed.wait(self._wakes_at - now)


_LONGEST_SLEEP_S = 3600.0
_deadlines = _Deadlines()


def _after_fork() -> None:
    global _deadlines  # noqa: PLW0603 -- the thread is the parent's, and it may have held the lock
    _deadlines = _Deadlines()


os.register_at_fork(after_in_child=_after_fork)


class BoundedConnection(http.client.HTTPConnection):
    """Bounds the time from the end of a request to the end of its response.

    A mixin for http.client's connections and those of urllib3 and botocore. A connection that is
    idle for that long is closed as well, which the next request notices.
    """

    response_timeout_s = 300.0

    def send(self, data: Any) -> None:  # noqa: ANN401 -- as in the base class
        super().send(data)
        self._renew()  # a response to "Expect: 100-continue" is read before the body is sent

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as in the base class
        self._renew()
        return super().getresponse(*args, **kwargs)

    def _renew(self) -> None:
        if self.sock is not None:
            _deadlines.set(self.sock, self.response_timeout_s)


def bounded(connection: type[C], response_timeout_s: float) -> type[C]:
    """Derive a class of connections whose responses have a deadline."""
    name, bases = f"Bounded{connection.__name__}", (BoundedConnection, connection)
    return cast("type[C]", type(name, bases, {"response_timeout_s": response_timeout_s}))
