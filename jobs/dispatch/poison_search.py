"""Finds the items of a shard that kill the process that computes them, and no others.

A child process computes the items one by one: the item at which it dies is a suspect, and the
search goes on behind it. A suspect is poison when it kills three more processes, each of which
computed only a known-good image before, and when that image can still be computed after the third.
The parent of the children lives on: had the node died, the search would have ended with it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fcos_core.errors import DeviceError
from jobs.parallel.child_process import ChildCrashedError, ChildOptions, ChildProcess
from jobs.parallel.memory import Memory

if TYPE_CHECKING:
    from jobs.rundir.rows import ManifestItem
    from jobs.worker.messages import MakeWorker, ShardWorker, WorkerSettings

TRIALS = 3
"""Processes that a suspect must kill to be poison."""

_POLL_S = 0.02  # a process takes at most some hundred megabytes in this time
_RESERVED_SHARE = 0.1  # of all memory; Ray's own watch at 0.05 would kill the parent
_SENT_BY_OTHERS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class PoisonSearchLimits:
    """Time limits of a search.

    Attributes:
        start_s: to start a process, load the model and compute a known-good image.
        item_s: to compute an item, however small it is.
        row_s: added to ``item_s`` for each image or frame of the item.
        total_s: after this time no further item is computed; the poison found so far is returned.
    """

    start_s: float
    item_s: float
    row_s: float
    total_s: float

    def longest_s(self, num_rows: int) -> float:
        """Duration in the worst case: the only item has all rows, and begins just in time."""
        item_s = self.item_s + num_rows * self.row_s
        return self.total_s + (TRIALS + 2) * self.start_s + (TRIALS + 1) * item_s


@dataclass(frozen=True)
class _Death:
    """Why a child could not compute the item at ``place``: a signal, an exit code or a limit."""

    place: int
    reason: str


class PoisonSearch:
    """One search, whose time runs from here on."""

    def __init__(
        self,
        make_worker: MakeWorker,
        settings: WorkerSettings,
        limits: PoisonSearchLimits,
        *,
        memory: Memory | None = None,
    ) -> None:
        self._make_worker = make_worker
        self._settings = settings
        self._limits = limits
        self._memory = memory or Memory()
        self._end = time.monotonic() + limits.total_s

    def find(self, items: Sequence[ManifestItem]) -> dict[int, str]:
        """Find the poison among the items of a shard whose workers died.

        Returns:
            How each poison item kills, by item_id; empty when no item kills alone.

        Raises:
            DeviceError: the search proves nothing here. Not even a known-good image can be
                computed, another program ended a process, or other programs took the memory.
        """
        poison: dict[int, str] = {}
        rest = list(items)
        while rest and time.monotonic() < self._end:
            death = self._run_trial(rest)
            if death is None:
                break
            suspect, rest = rest[death.place], rest[death.place + 1 :]
            reason = self._confirm(suspect)
            if reason is not None:
                poison[suspect.item_id] = reason
        return poison

    def _confirm(self, suspect: ManifestItem) -> str | None:
        """Say how an item kills; None when it does not."""
        reason = ""
        for _ in range(TRIALS):
            death = self._run_trial([suspect])
            if death is None:
                return None
            reason = death.reason
        self._run_trial([])
        return f"all {TRIALS} processes that computed only this item died: {reason}"

    def _run_trial(self, items: Sequence[ManifestItem]) -> _Death | None:
        with self._start_child() as child:
            reason = _compute(child, None, limit_s=self._limits.start_s)
            if reason is not None:
                raise DeviceError(f"a new process cannot compute a known-good image: {reason}")
            for place, item in enumerate(items):
                if place and time.monotonic() > self._end:
                    return None  # whether the other items kill is not known
                rows_s = (item.num_frames or 1) * self._limits.row_s
                reason = _compute(child, item, limit_s=self._limits.item_s + rows_s)
                if reason is not None:
                    return _Death(place, reason)
        return None

    def _start_child(self) -> ChildProcess[ManifestItem | None, None]:
        options = ChildOptions(
            start_s=0.0,  # is part of the limit of the known-good image
            poll_s=_POLL_S,
            on_poll=_MemoryWatch(self._memory).check,
            ignores_sigint=False,  # a child that somebody interrupts must not look like poison
            shows_crashes=True,
        )
        return ChildProcess(_Trial(self._make_worker, self._settings), options)


class _Trial:
    """What a child does: compute an item, or at None a known-good image; it writes nothing."""

    def __init__(self, make_worker: MakeWorker, settings: WorkerSettings) -> None:
        self._make_worker = make_worker
        self._settings = settings
        self._worker: ShardWorker | None = None

    def __call__(self, item: ManifestItem | None) -> None:
        try:
            if self._worker is None:
                self._worker = self._make_worker(self._settings)
            if item is None:
                self._worker.warm_up()
            else:
                self._worker.run_trial(item)
        except DeviceError as error:
            raise ChildCrashedError(str(error)) from error


def _compute(
    child: ChildProcess[ManifestItem | None, None], item: ManifestItem | None, *, limit_s: float
) -> str | None:
    """Compute an item in a child; return how the child ended, or None when it lives.

    Raises:
        DeviceError: another program ended the child, or took the memory.
    """
    try:
        child.call(item, limit_s=limit_s)
    except ChildCrashedError as error:
        if error.ended_by in _SENT_BY_OTHERS:
            raise DeviceError(f"another program ended a process: {error}") from error
        return str(error)
    return None


class _MemoryWatch:
    """Ends a child before the machine is out of memory; to be made when the child starts."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._reserved_bytes = int(memory.total_bytes() * _RESERVED_SHARE)
        self._available_bytes = memory.free_bytes() - self._reserved_bytes

    def check(self, pid: int) -> None:
        """Raise where too little memory is free.

        Raises:
            ChildCrashedError: the child holds most of what was free.
            DeviceError: other programs hold it.
        """
        if self._memory.free_bytes() >= self._reserved_bytes:
            return
        held_bytes = self._memory.held_bytes(pid)
        if self._available_bytes <= 0 or held_bytes < self._available_bytes / 2:
            raise DeviceError(
                f"less than {self._reserved_bytes / _GIB:.1f} GiB of memory are free, and other "
                f"programs hold it: this process holds {held_bytes / _GIB:.1f} GiB"
            )
        raise ChildCrashedError(
            f"out of memory: it took {held_bytes / _GIB:.1f} GiB of "
            f"{self._available_bytes / _GIB:.1f} GiB that were available"
        )
