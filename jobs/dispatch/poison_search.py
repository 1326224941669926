"""Finds the items of a shard that kill whoever computes them, and no others.

The items are computed one by one in a process of their own, which says when it is through with
each: the one at which it dies is a suspect, and the search goes on behind it. A suspect is guilty
when it kills three more processes in which nothing but a known-good image came before it, and
when that image can still be computed after the third. The parent of those processes lives on and
watches: had the machine died, nobody would be here to accuse an item.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from fcos_core.errors import DeviceError
from jobs.parallel.memory import Memory

if TYPE_CHECKING:
    from jobs.rundir.rows import ManifestItem
    from jobs.worker.messages import MakeWorker, WorkerSettings

TRIALS = 3
"""Deaths alone, each in a fresh process, that make an item guilty."""

_POLL_S = 0.02  # a process takes hundreds of megabytes meanwhile, no more
_LEAST_FREE_SHARE = 0.1  # Ray's own watch kills at 0.05, and would kill the parent
_ENDING_S = 30.0
_ORDERS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class ExaminationLimits:
    """What keeps an examination from hanging.

    Attributes:
        start_s: to load the model and compute an image that is known to be good.
        item_s: to compute an item, however small it is.
        row_s: on top of it for each image or frame of it.
        total_s: after which what was found so far must do.
    """

    start_s: float
    item_s: float
    row_s: float
    total_s: float

    def longest_s(self, num_rows: int) -> float:
        """What an examination takes at worst: the largest item of all is begun just in time."""
        item_s = self.item_s + num_rows * self.row_s
        return self.total_s + (TRIALS + 2) * self.start_s + (TRIALS + 1) * item_s


@dataclass(frozen=True)
class _Death:
    """How a process ended that should not have.

    Attributes:
        place: of the item it was at.
        reason: signal, exit code or why it was ended.
    """

    place: int
    reason: str


class Examination:
    """Looks for the items that kill.

    Args:
        make_worker: of the shard's worker; it is made anew in every process.
        settings: of it.
        limits: see there.
        memory: that the processes share with everybody else.
    """

    def __init__(
        self,
        make_worker: MakeWorker,
        settings: WorkerSettings,
        limits: ExaminationLimits,
        *,
        memory: Memory | None = None,
    ) -> None:
        self._make_worker = make_worker
        self._settings = settings
        self._limits = limits
        self._memory = memory or Memory()
        self._end = time.monotonic() + limits.total_s

    def poison(self, items: Sequence[ManifestItem]) -> dict[int, str]:
        """Find the items that kill.

        Args:
            items: of a shard whose workers died.

        Returns:
            By item_id how they kill; nothing when none of them does it alone. A ``DeviceError``
            says that not even a known-good image can be computed here.
        """
        guilty: dict[int, str] = {}
        rest = list(items)
        while rest and time.monotonic() < self._end:
            death = self._run_trial(rest)
            if death is None:
                break
            suspect, rest = rest[death.place], rest[death.place + 1 :]
            reason = self._try(suspect)
            if reason is not None:
                guilty[suspect.item_id] = reason
        return guilty

    def _try(self, suspect: ManifestItem) -> str | None:
        """Say how an item kills; None when it does not."""
        reason = ""
        for _ in range(TRIALS):
            death = self._run_trial([suspect])
            if death is None:
                return None
            reason = death.reason
        self._run_trial([])
        return f"a process that computed nothing else died, {TRIALS} times of {TRIALS}: {reason}"

    def _run_trial(self, items: Sequence[ManifestItem]) -> _Death | None:
        """Have a fresh process compute a known-good image and then some items.

        Raises:
            DeviceError: it dies of the known-good image.
        """
        with self._process() as (process, connection):
            watch = _Watch(process, connection, self._memory)
            connection.send_bytes(pickle.dumps((self._make_worker, self._settings, items)))
            reason = watch.next(self._limits.start_s)
            if reason is not None:
                raise DeviceError(f"no fresh process computes an image known to be good: {reason}")
            for place, item in enumerate(items):
                if place and time.monotonic() > self._end:
                    return None  # whether the rest kills is not known
                rows_s = (item.num_frames or 1) * self._limits.row_s
                reason = watch.next(self._limits.item_s + rows_s)
                if reason is not None:
                    return _Death(place, reason)
        return None

    @contextmanager
    def _process(self) -> Generator[tuple[subprocess.Popen[bytes], Connection]]:
        ours, theirs = Pipe()
        with ours:
            with theirs:
                process = subprocess.Popen(  # noqa: S603 -- our own interpreter and our own words
                    [
                        *(sys.executable, "-X", "faulthandler"),
                        *("-m", "jobs.dispatch.poison_child", str(theirs.fileno())),
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    # Ray extends the path after the start; the process must find the same modules.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
            try:
                yield process, ours
            finally:
                process.kill()
                process.wait(_ENDING_S)


class _Watch:
    """Waits for what a process says, and for the ways in which it may end instead.

    Args:
        process: that is watched.
        connection: to it.
        memory: that it shares with others.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], connection: Connection, memory: Memory
    ) -> None:
        self._process = process
        self._connection = connection
        self._memory = memory
        self._least_free = int(memory.total_bytes() * _LEAST_FREE_SHARE)
        self._to_be_had = memory.free_bytes() - self._least_free

    def next(self, limit_s: float) -> str | None:
        """Wait until the process is through with what it does.

        Args:
            limit_s: how long.

        Returns:
            None when it is; else how the process ended.

        Raises:
            DeviceError: it was ended by somebody's order, or for somebody else's hunger.
            Exception: what it says is a bug, or that it cannot work at all.
        """
        end = time.monotonic() + limit_s
        while not self._connection.poll(_POLL_S):
            if time.monotonic() > end:
                return f"no answer within {limit_s:g} s"
            if self._memory.free_bytes() < self._least_free:
                return self._who_eats()
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            return self._ending()
        if isinstance(answer, DeviceError):
            return str(answer)
        if isinstance(answer, Exception):
            raise answer
        return None

    def _who_eats(self) -> str:
        held = self._memory.held_bytes(self._process.pid)
        if self._to_be_had <= 0 or held < self._to_be_had / 2:
            raise DeviceError(
                f"the machine is short of memory, {self._least_free / _GIB:.1f} GiB are to be kept "
                f"free, and it is not this process's doing, which holds {held / _GIB:.1f} GiB"
            )
        return (
            f"out of memory: it took {held / _GIB:.1f} GiB where {self._to_be_had / _GIB:.1f} GiB "
            "were to be had"
        )

    def _ending(self) -> str:
        code = self._process.wait(_ENDING_S)
        if code >= 0:
            return f"exit code {code}"
        number = signal.Signals(-code)
        if number in _ORDERS:
            raise DeviceError(f"a process was ended by {number.name}: by somebody's order")
        return f"killed by {number.name}"
