"""Standard streams by which no command fails or hangs, wherever they lead.

A descriptor may be closed, its disk full, its reader gone, its pipe full and never read, its
terminal hung up. The work goes on all the same, and the exit code is that of the work.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from jobs.printable import printable_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_RESULT_WAIT_S = 60.0  # a pipe is full only where its reader lags far behind
_MESSAGE_WAIT_S = 5.0
_LOOK_AGAIN_MS = 1000
_MOST_UNREAD_BYTES = 1 << 20
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
    """Return what stdout did not take, up to 64 KiB, and why; None when it took everything.

    To be called at the end: readers of stdout and stderr that lag behind get their time before.
    """
    outputs = [getattr(stream, "buffer", None) for stream in (sys.stderr, sys.stdout)]
    lost: tuple[str, str] | None = None
    for output in outputs:
        if isinstance(output, LastingOutput):
            lost = output.close_behind()
    return lost


class LastingOutput(io.RawIOBase):
    """A descriptor on which a write always ends, and never fails.

    A thread writes, since only a thread can be left behind in a write that never ends. Each write
    waits for the thread, so that a line survives the death of the process. When one wait has taken
    ``longest_wait_s``, the reader pauses or is no reader at all: from then on nothing waits, and up
    to 1 MiB is kept for a reader who comes back. Of what was left out then, a line gives the count.

    Attributes:
        failure: why something was lost, the last time.
        lost: what the descriptor refused, up to 64 KiB.
    """

    def __init__(self, number: int, longest_wait_s: float) -> None:
        super().__init__()
        self.failure = ""
        self.lost = bytearray()
        self._number = number
        self._longest_wait_s = longest_wait_s
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._unread = deque[bytes]()
        self._num_unread_bytes = 0
        self._num_left_out = 0
        self._is_late = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all bytes, or keep them for later, or count them as lost."""
        text = bytes(data)
        if sys.is_finalizing() or not self._has_thread():
            if not self._unread:  # else the thread stands still in the middle of a write
                self._write(text)
            return len(text)
        with self._changed:
            self._is_late = self._is_late and bool(self._unread)
            if self._num_unread_bytes + len(text) > _MOST_UNREAD_BYTES and self._unread:
                self._num_left_out += text.count(b"\n")
            else:
                self._put(self._count_of_left_out() + text)
                self._wait()
        return len(text)

    def close_behind(self) -> tuple[str, str] | None:
        """Give the reader a last wait; return what it did not take, and why."""
        with self._changed:
            if self._unread and self._thread is not None and self._thread.is_alive():
                self._is_late = False
                self._wait()
            kept = bytes(self.lost) + b"".join(self._unread)
        if not kept:
            return None
        reason = self.failure or f"nobody has read it for {self._longest_wait_s:g} s"
        return kept[:_MOST_LOST_BYTES].decode(errors="replace"), reason

    def _put(self, text: bytes) -> None:
        self._unread.append(text)
        self._num_unread_bytes += len(text)
        self._changed.notify_all()

    def _wait(self) -> None:
        if self._is_late:
            return
        last = self._unread[-1]
        is_written = self._changed.wait_for(
            lambda: not any(text is last for text in self._unread), self._longest_wait_s
        )
        self._is_late = not is_written

    def _count_of_left_out(self) -> bytes:
        count, self._num_left_out = self._num_left_out, 0
        return b"... %d lines are left out: nobody has read them\n" % count if count else b""

    def _has_thread(self) -> bool:
        """Start the thread where there is none; False where Python refuses."""
        if (
            self._process != os.getpid()
        ):  # a fork has no thread but one, and nothing of its parent's
            self._begin()
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="output", daemon=True)
                with contextlib.suppress(RuntimeError):
                    self._thread.start()
            return self._thread.is_alive()

    def _work(self) -> None:
        changed = self._changed
        while True:
            with changed:
                changed.wait_for(lambda: bool(self._unread))
                text = self._unread[0]
            self._write(text)
            with changed:
                self._unread.popleft()
                self._num_unread_bytes -= len(text)
                changed.notify_all()

    def _write(self, text: bytes) -> None:
        left = memoryview(text)
        while left:
            try:
                left = left[os.write(self._number, left) :]
            except BlockingIOError:  # another process that shares the pipe made it so
                poll = select.poll()
                poll.register(self._number, select.POLLOUT)
                poll.poll(_LOOK_AGAIN_MS)
            except OSError as error:
                self.failure = _reason(error)
                self.lost += left[: _MOST_LOST_BYTES - len(self.lost)]
                return


class PrintableStream(io.TextIOWrapper):
    """A stream for people: what would steer a terminal is escaped, whichever library writes it.

    Attributes:
        unescaped: the same stream for what draws on a terminal and escapes its texts by itself.
    """

    def __init__(self, output: LastingOutput, encoding: str) -> None:
        # As unbuffered Python does: the raw stream needs no more.
        raw = cast("BinaryIO", output)
        super().__init__(raw, encoding, errors="backslashreplace", line_buffering=True)
        self.unescaped = io.TextIOWrapper(
            raw, encoding, errors="backslashreplace", line_buffering=True
        )

    def write(self, text: str, /) -> int:
        super().write(printable_lines(text))
        return len(text)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _stream(number: int, like: TextIO | None, longest_wait_s: float) -> TextIO:
    encoding = "utf-8" if like is None else like.encoding
    return PrintableStream(LastingOutput(number, longest_wait_s), encoding)


def _reason(error: OSError) -> str:
    if isinstance(error, BrokenPipeError | ConnectionResetError):
        return "its reader has left"
    return "it is closed" if error.errno == errno.EBADF else str(error.strerror)
