"""Which shard is done next, how often it may be tried and how long it may take."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from fcos_core.errors import IncompleteRunError
from jobs.runtime.messages import Receipt, Shard

_RECENT = 99
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The limits that keep a run from hanging.

    Attributes:
        poll_s: how often the clock is looked at.
        floor_s: what any shard may take, however small it is.
        first_row_s: on top of it per picture or frame, as long as nobody knows how long one takes.
        multiple: on top of it per picture or frame, times the running median, once that is known.
        no_progress_s: how long the run may wait while nothing is being computed: for a cluster to
            have room, for workers to start.
        max_attempts: how often one shard is tried.
        max_failures_in_a_row: how many tries may fail, of whatever shard, with no shard done
            between them.
    """

    poll_s: float = 0.5
    floor_s: float = 300.0
    first_row_s: float = 20.0
    multiple: float = 10.0
    no_progress_s: float = 1800.0
    max_attempts: int = 5
    max_failures_in_a_row: int = 12


class Schedule:
    """The shards that are not done yet.

    A shard whose attempt failed goes to the end of the queue and is then done alone: with nothing
    loaded beside it, so that the next failure is its own.

    Args:
        shards: what is to be done, in any order.
        patience: see there.
    """

    def __init__(self, shards: Sequence[Shard], patience: Patience) -> None:
        self._patience = patience
        self._queue = deque(shards)
        self._open = {shard.number: shard for shard in shards}
        self._attempts: dict[int, int] = {}
        self._given_up: dict[int, str] = {}
        self._failures_in_a_row = 0
        self._seconds_per_row: deque[float] = deque(maxlen=_RECENT)

    @property
    def num_open(self) -> int:
        """How many shards are neither done nor given up."""
        return len(self._open)

    def take(self) -> Shard | None:
        """Hand out the next shard, if any waits."""
        return self._queue.popleft() if self._queue else None

    def take_upcoming(self, current: Shard) -> Shard | None:
        """Hand out a shard to load while another is computed, if both may be trusted together."""
        if current.number in self._attempts or not self._queue:
            return None
        return None if self._queue[0].number in self._attempts else self._queue.popleft()

    def deadline_s(self, shard: Shard, *, is_first: bool) -> float:
        """Say how long a shard may take.

        Args:
            shard: which.
            is_first: whether it is its worker's first, and so pays for warming up.
        """
        patience, num_rows = self._patience, shard.num_rows
        longest = patience.floor_s + num_rows * patience.first_row_s
        if is_first or not self._seconds_per_row:
            return longest
        median = statistics.median(self._seconds_per_row)
        return min(longest, patience.floor_s + num_rows * patience.multiple * median)

    def record(self, receipt: Receipt) -> bool:
        """Note that a shard is done; say whether that is news."""
        self._failures_in_a_row = 0
        self._seconds_per_row.append(receipt.seconds / receipt.num_rows)
        return self._open.pop(receipt.shard, None) is not None

    def fail(self, shards: Sequence[Shard], reason: str) -> None:
        """Note that an attempt at some shards failed, whichever of them was to blame.

        Raises:
            IncompleteRunError: too many attempts failed with no shard done between them.
        """
        for shard in shards:
            if shard.number not in self._open:
                continue
            attempts = self._attempts[shard.number] = self._attempts.get(shard.number, 0) + 1
            if attempts < self._patience.max_attempts:
                self._queue.append(shard)
            else:
                self._given_up[shard.number] = reason
                del self._open[shard.number]
        self._failures_in_a_row += 1
        limit = self._patience.max_failures_in_a_row
        if self._failures_in_a_row >= limit:
            raise IncompleteRunError(
                f"{limit} attempts failed in a row, {self.num_open + len(self._given_up)} shards "
                f"are missing; the last one: {reason}"
            )

    def check_complete(self) -> None:
        """Insist that no shard was given up.

        Raises:
            IncompleteRunError: some were.
        """
        if not self._given_up:
            return
        named = "; ".join(
            f"shard {number}: {reason}" for number, reason in list(self._given_up.items())[:_NAMED]
        )
        raise IncompleteRunError(
            f"{len(self._given_up)} shards are missing after {self._patience.max_attempts} "
            f"attempts each: {named}"
        )
