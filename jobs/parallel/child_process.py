"""A function in a child process, which a crash ends without ending this process.

Demuxers and decoders are C: a damaged file may crash them. The parent sends one argument after
another, and for each gets the result or learns how the child ended. This is the only place where
``jobs`` starts a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, cast

from fcos_core.errors import FcosError
from jobs.parallel.signals import check_interrupted

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_END_TIMEOUT_S = 30.0
_PR_SET_PDEATHSIG = 1


class ChildCrashedError(Exception):
    """The child gave no result: it died, took too long, or must not be used any further.

    ``ended_by`` is the signal that killed the child, if one did.
    """

    def __init__(self, reason: str, *, ended_by: signal.Signals | None = None) -> None:
        super().__init__(reason)
        self.ended_by = ended_by


@dataclass(frozen=True, kw_only=True)
class ChildOptions:
    """How a child is started and watched.

    Attributes:
        start_s: time to start on a busy machine; added to the time limit of the first call.
        poll_s: pause between two looks at a child that works.
        on_poll: called with the child's process id at each look; what it raises ends the call.
        ignores_sigint: whether Ctrl-C is left to the parent, which then ends the child. When
            False, the child dies of SIGINT, and the error says so.
        shows_crashes: whether the child writes to the parent's stderr, and there also the Python
            stack when a signal such as SIGSEGV kills it.
        memory_bytes: the memory that the child may take beyond what it holds once its function is
            imported; None for no limit. Linux only.
        environment: variables of the child's environment that differ from ours.
    """

    start_s: float = 120.0
    poll_s: float = 0.5
    on_poll: Callable[[int], None] | None = None
    ignores_sigint: bool = True
    shows_crashes: bool = False
    memory_bytes: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


class ChildProcess(Generic[Argument, Result]):
    """A process that calls one function again and again; close it, or use it as a ``with`` block.

    The function must be picklable, and importable in a process with the same ``sys.path``.
    """

    def __init__(
        self, function: Callable[[Argument], Result], options: ChildOptions | None = None
    ) -> None:
        self._options = options or ChildOptions()
        self._unsent: Callable[[Argument], Result] | None = function
        self._connection, child_end = Pipe()
        is_shown = self._options.shows_crashes
        with child_end:
            call = (
                f"main({child_end.fileno()}, ignores_sigint={self._options.ignores_sigint}, "
                f"memory_bytes={self._options.memory_bytes})"
            )
            self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and our own code
                [
                    *(sys.executable, *(("-X", "faulthandler") if is_shown else ())),
                    *("-c", f"from {__name__} import main; {call}"),
                ],
                pass_fds=[child_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if is_shown else subprocess.DEVNULL,
                # Ray extends the path after the start; the child must find the same modules.
                env={
                    **os.environ,
                    **self._options.environment,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait(_END_TIMEOUT_S)

    def call(self, argument: Argument, *, limit_s: float) -> Result:
        """Call the function in the child, with a picklable argument.

        Raises:
            ChildCrashedError: the child died, or did not return in time. Do not call it again.
            Exception: what the function raised: an ``FcosError``; otherwise it is a bug, and a
                ``RuntimeError`` holds the child's traceback.
        """
        try:
            if self._unsent is not None:
                limit_s += self._options.start_s
                self._connection.send(self._unsent)
                self._unsent = None
            self._connection.send(argument)
            self._wait(limit_s)
            result = self._connection.recv()
        except (EOFError, ConnectionError):
            raise self._death() from None
        if isinstance(result, Exception):
            raise result
        return cast("Result", result)

    def _wait(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while not self._connection.poll(self._options.poll_s):
            check_interrupted()
            if time.monotonic() > end:
                raise ChildCrashedError(f"no answer within {limit_s:g} s")
            if self._options.on_poll is not None:
                self._options.on_poll(self.pid)

    def _death(self) -> ChildCrashedError:
        code = self._process.wait(_END_TIMEOUT_S)
        if code >= 0:
            return ChildCrashedError(f"exit code {code}")
        ended_by = signal.Signals(-code)
        return ChildCrashedError(f"killed by {ended_by.name}", ended_by=ended_by)


def main(descriptor: int, *, ignores_sigint: bool, memory_bytes: int | None) -> None:
    """Receive a function and then its arguments, and send the results, until the parent is gone.

    ``descriptor`` is the child's end of the connection; ``ChildOptions`` describes the rest.
    """
    # Either way: a child inherits from its parent whether SIGINT is ignored, as under nohup.
    signal.signal(signal.SIGINT, signal.SIG_IGN if ignores_sigint else signal.SIG_DFL)
    if sys.platform == "linux":  # a parent that is killed must leave no child behind
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with Connection(descriptor) as connection:
        try:
            function = _result(_load, connection.recv_bytes())
            if memory_bytes is not None and sys.platform == "linux":
                _limit_memory(memory_bytes)
            while True:
                argument = connection.recv_bytes()
                # A function that cannot be imported is an exception here, and the only answer.
                connection.send(_answer(function, argument) if callable(function) else function)
        except (EOFError, ConnectionError):
            return


def _limit_memory(size_bytes: int) -> None:
    """Let this process take so many bytes more of address space; a lower limit stays."""
    num_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = num_pages * resource.getpagesize() + size_bytes
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    kept = [other for other in (soft, hard) if other != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([limit, *kept]), hard))


def _load(pickled: bytes) -> Any:  # noqa: ANN401 -- whatever the parent sends
    return pickle.loads(pickled)  # noqa: S301 -- the parent is this program


def _answer(function: Callable[[object], object], argument: bytes) -> object:
    return _result(lambda pickled: function(_load(pickled)), argument)


def _result(function: Callable[[bytes], object], argument: bytes) -> object:
    """Call the function; what it raises is sent to the parent like a result."""
    try:
        return function(argument)
    except (FcosError, ChildCrashedError) as error:
        return error
    except MemoryError as error:
        return ChildCrashedError(f"out of memory: {error}")
    except Exception:  # noqa: BLE001 -- a bug, which the parent raises
        return RuntimeError(traceback.format_exc())
