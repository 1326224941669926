"""A process of our own that does one thing after another for us, and may die of any of them.

What a damaged file does to a demuxer or decoder, which are C, must not end a command. So they run
here: whoever asks learns the answer, or how the process ended instead.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Generic, Self, TypeVar, cast

from fcos_core.errors import FcosError
from jobs.parallel.signals import check_interrupted

Argument = TypeVar("Argument")
Result = TypeVar("Result")

START_S = 120.0
"""What a process may take to start, on a machine with much else to do."""

_POLL_S = 0.5
_ENDING_S = 30.0
_PR_SET_PDEATHSIG = 1


class ChildDiedError(Exception):
    """The process gave no answer; the message says why. There is no use in asking it again."""


class Child(Generic[Argument, Result]):
    """The process; to be closed, or used as a ``with`` block.

    Args:
        function: what it is asked again and again; picklable.
    """

    def __init__(self, function: Callable[[Argument], Result]) -> None:
        ours, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and our own words
                [sys.executable, "-c", f"from {__name__} import main; main({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ray extends the path after the start; the process must find the same modules.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._connection = ours
        self._function: Callable[[Argument], Result] | None = function

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._connection.close()
        self._process.kill()
        self._process.wait(_ENDING_S)

    def ask(self, argument: Argument, *, limit_s: float) -> Result:
        """Have the function called.

        Args:
            argument: picklable.
            limit_s: how long it may take.

        Returns:
            What it returned.

        Raises:
            ChildDiedError: the process died, or gave no answer in time.
            Exception: what the function raised: an ``FcosError``, otherwise a bug.
        """
        try:
            if self._function is not None:
                limit_s += START_S
                self._connection.send(self._function)
                self._function = None
            self._connection.send(argument)
            end = time.monotonic() + limit_s
            while not self._connection.poll(_POLL_S):
                check_interrupted()
                if time.monotonic() > end:
                    raise ChildDiedError(f"no answer within {limit_s:g} s")
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            raise ChildDiedError(self._ending()) from None
        if isinstance(answer, Exception):
            raise answer
        return cast("Result", answer)

    def _ending(self) -> str:
        code = self._process.wait(_ENDING_S)
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def main(descriptor: int) -> None:
    """Answer what the other end of a connection asks, until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends this process
    die_with_the_parent()
    with Connection(descriptor) as connection:
        try:
            function = connection.recv()
            while True:
                connection.send(_answer(function, connection.recv()))
        except (EOFError, ConnectionError):
            return


def die_with_the_parent() -> None:
    """Leave no process behind when a command is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(function: Callable[[object], object], argument: object) -> object:
    try:
        return function(argument)
    except FcosError as error:
        return error
    except MemoryError as error:
        return ChildDiedError(f"out of memory: {error}")
    except Exception:  # noqa: BLE001 -- a bug, which the parent raises
        return RuntimeError(traceback.format_exc())
