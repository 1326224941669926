"""Which shard is done next, how often it may be tried and how long it may take."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fcos_core.errors import IncompleteRunError
from jobs.dispatch.poison_search import ExaminationLimits
from jobs.rundir.shard import Receipt, Shard

_RECENT = 99
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class RetryLimits:
    """The limits that keep a run from hanging.

    Attributes:
        poll_s: how often the clock is looked at.
        start_s: what a process may take to load the model.
        floor_s: what any shard may take, however small it is.
        first_row_s: on top of it per image or frame, as long as nobody knows how long one takes.
        multiple: on top of it per image or frame, times the running median, once that is known.
        no_progress_s: how long the run may go on without a shard being done, on top of what the
            shards that are being computed may take: for a cluster to have room, for workers to
            start.
        max_attempts: how often one shard is tried, deaths of nodes not counted.
        max_failures_in_a_row: how many tries may fail, of whatever shard, with no shard done
            between them; one more for each worker but the first.
        examine_after: a shard whose workers died so often is searched for the item that kills.
    """

    poll_s: float = 0.5
    start_s: float = 900.0
    floor_s: float = 300.0
    first_row_s: float = 20.0
    multiple: float = 10.0
    no_progress_s: float = 1800.0
    max_attempts: int = 5
    max_failures_in_a_row: int = 12
    examine_after: int = 2


@dataclass
class _Trouble:
    """What one shard has cost so far.

    Attributes:
        attempts: that failed since poison was last found in it.
        deaths: of workers, since the shard was last examined.
    """

    attempts: int = 0
    deaths: int = 0


class Schedule:
    """The shards that are not done yet.

    A shard whose attempt failed goes to the end of the queue and is then done alone: with nothing
    loaded beside it, so that the next failure is its own. When workers keep dying of it, it is put
    aside to be examined, and comes back without the items that kill.

    Args:
        shards: what is to be done, in any order.
        limits: see there.
    """

    def __init__(self, shards: Sequence[Shard], limits: RetryLimits) -> None:
        self._limits = limits
        self._queue = deque(shards)
        self._suspects = deque[Shard]()
        self._open = {shard.number: shard for shard in shards}
        self._trouble: dict[int, _Trouble] = {}
        self._given_up: dict[int, str] = {}
        self._failures_in_a_row = 0
        self.num_workers = 1
        self._seconds_per_row: deque[float] = deque(maxlen=_RECENT)

    @property
    def num_open(self) -> int:
        """How many shards are neither done nor given up."""
        return len(self._open)

    @property
    def num_suspects(self) -> int:
        """How many shards wait to be examined."""
        return len(self._suspects)

    def open_numbers(self) -> str:
        """Name the shards that are not done, the first few of them."""
        numbers = sorted([*self._open, *self._given_up])
        more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
        return ", ".join(map(str, numbers[:_NAMED])) + more

    def take(self) -> Shard | None:
        """Hand out the next shard, if any waits."""
        return self._queue.popleft() if self._queue else None

    def take_upcoming(self, current: Shard) -> Shard | None:
        """Hand out a shard to load while another is computed, if both may be trusted together."""
        if current.number in self._trouble or not self._queue:
            return None
        return None if self._queue[0].number in self._trouble else self._queue.popleft()

    def take_suspect(self) -> Shard | None:
        """Hand out a shard to be examined, if any waits."""
        return self._suspects.popleft() if self._suspects else None

    def deadline_s(self, shard: Shard, *, is_first: bool) -> float:
        """Say how long a shard may take.

        Args:
            shard: which.
            is_first: whether it is its worker's first, and so pays for warming up.
        """
        row_s = self._limits.first_row_s if is_first else self._row_s()
        return self._limits.floor_s + shard.num_rows * row_s

    def examination_limits(self, shard: Shard) -> ExaminationLimits:
        """Say how long an examination may take; what it has found by then is kept."""
        limits = self._limits
        return ExaminationLimits(
            start_s=limits.start_s,
            item_s=limits.floor_s,
            row_s=self._row_s(),
            total_s=limits.start_s + self.deadline_s(shard, is_first=True),
        )

    def _row_s(self) -> float:
        """What an image or frame may take."""
        if not self._seconds_per_row:
            return self._limits.first_row_s
        usual_s = statistics.median(self._seconds_per_row)
        return min(self._limits.first_row_s, self._limits.multiple * usual_s)

    def record(self, receipt: Receipt) -> bool:
        """Note that a shard is done; say whether that is news."""
        self._failures_in_a_row = 0
        self._seconds_per_row.append(receipt.seconds / receipt.num_rows)
        self._trouble.pop(receipt.shard, None)
        return self._open.pop(receipt.shard, None) is not None

    def requeue(self, shards: Sequence[Shard]) -> None:
        """Take shards back that were lost through no fault of theirs, with their node."""
        for shard in shards:
            if shard.number in self._open:
                self._queue.append(shard)

    def fail(self, shards: Sequence[Shard], reason: str, *, died: bool = False) -> None:
        """Note that an attempt at some shards failed, whichever of them was to blame.

        Args:
            shards: that were attempted.
            reason: in few words.
            died: whether the worker died of it, and not only storage refused.
        """
        for shard in shards:
            if shard.number not in self._open:
                continue
            trouble = self._trouble.setdefault(shard.number, _Trouble())
            trouble.attempts += 1
            trouble.deaths += died
            if trouble.attempts >= self._limits.max_attempts:
                self._given_up[shard.number] = reason
                del self._open[shard.number]
            elif trouble.deaths >= self._limits.examine_after:
                self._suspects.append(shard)
            else:
                self._queue.append(shard)
        self._count_failure(reason)

    def examined(self, shard: Shard, found: Mapping[int, str]) -> None:
        """Take a shard back from its examination.

        Args:
            shard: which.
            found: what kills in it, by item_id; nothing when no item does so alone.
        """
        if shard.number not in self._open:
            return
        trouble = self._trouble.setdefault(shard.number, _Trouble())
        trouble.deaths = 0
        if found:  # without them it is another shard
            self._failures_in_a_row = 0
            trouble.attempts = 0
        self._queue.append(replace(shard, poison={**shard.poison, **found}))

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
            f"{len(self._given_up)} shards are missing after {self._limits.max_attempts} "
            f"attempts each: {named}"
        )

    def _count_failure(self, reason: str) -> None:
        """End the run when nothing succeeds.

        Raises:
            IncompleteRunError: too many attempts failed with no shard done between them.
        """
        self._failures_in_a_row += 1
        limit = self._limits.max_failures_in_a_row + self.num_workers - 1
        if self._failures_in_a_row >= limit:
            raise IncompleteRunError(
                f"{limit} attempts failed in a row, {self.num_open + len(self._given_up)} shards "
                f"are missing ({self.open_numbers()}); the last one: {reason}"
            )
