"""Standard streams by which no command fails or hangs, wherever they lead.

A descriptor may be closed, its disk full, its reader gone, its pipe full and never read, its
terminal hung up. The work goes on all the same, and the exit code is that of the work.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import queue
import select
import sys
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_RESULT_WAIT_S = 60.0  # a pipe is full only where its reader lags far behind
_MESSAGE_WAIT_S = 5.0
_LOOK_AGAIN_MS = 1000
_MOST_LOST_BYTES = 1 << 16


def open_standard_streams() -> None:
    """Give this process a stdin, stdout and stderr that may always be used.

    To be called before any file is opened: a closed descriptor's number would go to that file, and
    what a library prints would go into it. What stands in its place can only be read, so that
    writing fails here and in child processes as it did before.
    """
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number
            os.set_inheritable(number, True)  # noqa: FBT003
    if sys.stdin is None:
        sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _stream(1, sys.stdout, _RESULT_WAIT_S)
    sys.stderr = sys.__stderr__ = _stream(2, sys.stderr, _MESSAGE_WAIT_S)


def lost_output() -> tuple[str, str] | None:
    """Return what stdout did not take, up to 64 KiB, and why; None when it took everything."""
    output = getattr(sys.stdout, "buffer", None)
    if not isinstance(output, LastingOutput) or not output.lost:
        return None
    return output.lost.decode(errors="replace"), output.failure


class LastingOutput(io.RawIOBase):
    """A descriptor on which a write always ends, and never fails.

    A thread writes, since only a thread can be left behind in a write that never ends. Each write
    waits for the thread, so that a line survives the death of the process. After one wait of
    ``longest_wait_s``, what is written is lost at once, until the reader reads again.

    Attributes:
        failure: why something was lost, the last time.
        lost: what the descriptor did not take, up to 64 KiB.
    """

    def __init__(self, number: int, longest_wait_s: float) -> None:
        super().__init__()
        self.failure = ""
        self.lost = bytearray()
        self._number = number
        self._longest_wait_s = longest_wait_s
        self._late: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._coming: queue.SimpleQueue[tuple[bytes, threading.Event]] = queue.SimpleQueue()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all bytes, or count them as lost."""
        text = bytes(data)
        if self._late is not None and not self._late.is_set():
            self._lose(text, self.failure)
        elif sys.is_finalizing() or not self._has_thread():
            self._write(text)
        else:
            written = threading.Event()
            self._coming.put((text, written))
            if not written.wait(self._longest_wait_s):
                self._late = written
                self._lose(text, f"nobody has read it for {self._longest_wait_s:g} s")
        return len(text)

    def _has_thread(self) -> bool:
        """Start the thread where there is none, as after a fork; False where Python refuses."""
        if self._thread is None or not self._thread.is_alive():
            self._coming = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._work, name="output", daemon=True)
            with contextlib.suppress(RuntimeError):
                self._thread.start()
        return self._thread.is_alive()

    def _work(self) -> None:
        while True:
            text, written = self._coming.get()
            self._write(text)
            written.set()

    def _write(self, text: bytes) -> None:
        left = memoryview(text)
        while left:
            try:
                left = left[os.write(self._number, left) :]
            except BlockingIOError:  # whoever shares the pipe made it so
                poll = select.poll()
                poll.register(self._number, select.POLLOUT)
                poll.poll(_LOOK_AGAIN_MS)
            except OSError as error:
                self._lose(bytes(left), _reason(error))
                return

    def _lose(self, text: bytes, reason: str) -> None:
        self.failure = reason
        self.lost += text[: _MOST_LOST_BYTES - len(self.lost)]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _stream(number: int, like: TextIO | None, longest_wait_s: float) -> TextIO:
    encoding = "utf-8" if like is None else like.encoding
    output = LastingOutput(number, longest_wait_s)
    return io.TextIOWrapper(
        output,  # pyright: ignore[reportArgumentType] -- as unbuffered Python does, it needs no more
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def _reason(error: OSError) -> str:
    if isinstance(error, BrokenPipeError | ConnectionResetError):
        return "its reader has left"
    return "it is closed" if error.errno == errno.EBADF else str(error.strerror)
