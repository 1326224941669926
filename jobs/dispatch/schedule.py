"""What a killed worker costs: its shards are retried, each alone, then searched for poison.

Also which shard is computed next, how long it may take, and when a run gives up.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fcos_core.errors import IncompleteRunError
from jobs.dispatch.poison_search import PoisonSearchLimits
from jobs.rundir.shard import AnyShard, Receipt

_RECENT = 99
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class RetryLimits:
    """How often a shard is tried and how long it may take, so that no run hangs.

    Attributes:
        poll_s: pause between two looks at the deadlines.
        start_s: time limit for a process to load the model.
        floor_s: time limit of a shard without its images and frames.
        first_row_s: added for each image or frame, as long as no shard has been timed.
        multiple: once shards have been timed, this many times the median time per image or frame
            is added instead, if that is less.
        no_progress_s: time in which no shard is done, added to the time limits of the running
            calls; the cluster may have to start nodes, and the nodes workers.
        max_attempts: attempts at one shard; the death of a node is not counted.
        max_failures_in_a_row: attempts at any shards that fail with no shard done between them;
            each worker but the first adds one.
        max_deaths: deaths of workers after which a shard is searched for poison.
    """

    poll_s: float = 0.5
    start_s: float = 900.0
    floor_s: float = 300.0
    first_row_s: float = 20.0
    multiple: float = 10.0
    no_progress_s: float = 1800.0
    max_attempts: int = 5
    max_failures_in_a_row: int = 12
    max_deaths: int = 2


@dataclass
class _Failures:
    """Failed attempts at one shard since poison was last found in it.

    ``deaths`` counts the workers that died since the shard was last searched.
    """

    attempts: int = 0
    deaths: int = 0


class _Places:
    """The place of each shard in a sequence, by its number."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = np.array(numbers, np.int64)
        self._order = np.argsort(self._numbers, kind="stable")
        self._sorted = self._numbers[self._order]

    def of(self, number: int) -> int:
        return int(self._order[np.searchsorted(self._sorted, number)])

    def numbers(self, is_taken: npt.NDArray[np.bool_]) -> list[int]:
        """List the numbers of the shards at some places."""
        return self._numbers[is_taken].tolist()


def _spread(count: int) -> float:
    """The fractions 0, 1/2, 1/4, 3/4, 1/8, 5/8 ...: each as far from the others as it can be."""
    fraction, step = 0.0, 0.5
    while count:
        fraction += step * (count & 1)
        count, step = count >> 1, step / 2
    return fraction


class Schedule:
    """The shards that are not done yet: of a new run a few bytes each, however many they are.

    Each worker begins in a region of its own and goes on from there shard by shard. So the workers
    of a large run read different prefixes of a bucket, and each reads one part of the manifest.

    After a failed attempt a shard goes to a queue behind all others, and is then computed alone: no
    other shard is prefetched beside it, so that the next failure is its own. When its workers keep
    dying, the shard becomes a suspect: it is searched for poison, and comes back to the queue with
    the poison named.
    """

    def __init__(self, shards: Sequence[AnyShard], limits: RetryLimits) -> None:
        self._limits = limits
        self._shards = shards
        self._places = _Places([shard.number for shard in shards])
        self._is_fresh = np.ones(len(shards), np.bool_)  # given to no worker yet
        self._is_open = np.ones(len(shards), np.bool_)
        self._num_fresh = self._num_open = len(shards)
        self._num_regions = 0
        self._queue = deque[AnyShard]()
        self._suspects = deque[AnyShard]()
        self._failures: dict[int, _Failures] = {}
        self._given_up: dict[int, str] = {}
        self._failures_in_a_row = 0
        self.num_workers = 1
        self._seconds_per_row: deque[float] = deque(maxlen=_RECENT)

    @property
    def num_open(self) -> int:
        """Number of shards that are neither done nor given up."""
        return self._num_open

    @property
    def num_suspects(self) -> int:
        """Number of shards that wait for a poison search."""
        return len(self._suspects)

    def describe_missing(self) -> str:
        """Count the shards that are not done, and name the first few."""
        missing = sorted([*self._places.numbers(self._is_open), *self._given_up])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        return f"{_missing(len(missing))} ({', '.join(map(str, missing[:_NAMED]))}{more})"

    def new_region(self) -> int:
        """Choose where a new worker begins: far from where the others began."""
        self._num_regions += 1
        return int(_spread(self._num_regions - 1) * len(self._shards))

    def take(self, region: int = 0) -> AnyShard | None:
        """Take the next shard at or behind a place, then those before it, then failed ones."""
        if self._num_fresh:
            place = region + int(self._is_fresh[region:].argmax()) if region < len(self) else 0
            if not self._is_fresh[place]:
                place = int(self._is_fresh.argmax())
            self._is_fresh[place] = False
            self._num_fresh -= 1
            return self._shards[place]
        return self._queue.popleft() if self._queue else None

    def take_upcoming(self, current: AnyShard) -> AnyShard | None:
        """Return a shard to prefetch while another is computed; None if either failed before."""
        if current.number in self._failures or not (self._num_fresh or self._queue):
            return None
        if not self._num_fresh and self._queue[0].number in self._failures:
            return None
        return self.take(self.place_behind(current))

    def place_behind(self, shard: AnyShard) -> int:
        """Return the place of the shard that follows."""
        return self._places.of(shard.number) + 1

    def __len__(self) -> int:
        return len(self._shards)

    def take_suspect(self) -> AnyShard | None:
        return self._suspects.popleft() if self._suspects else None

    def deadline_s(self, shard: AnyShard, *, is_first: bool) -> float:
        """Return a shard's time limit; the first shard of a worker includes its warm-up."""
        row_s = self._limits.first_row_s if is_first else self._row_s()
        return self._limits.floor_s + shard.num_rows * row_s

    def poison_search_limits(self, shard: AnyShard) -> PoisonSearchLimits:
        limits = self._limits
        return PoisonSearchLimits(
            start_s=limits.start_s,
            item_s=limits.floor_s,
            row_s=self._row_s(),
            total_s=limits.start_s + self.deadline_s(shard, is_first=True),
        )

    def _row_s(self) -> float:
        if not self._seconds_per_row:
            return self._limits.first_row_s
        median_s = statistics.median(self._seconds_per_row)
        return min(self._limits.first_row_s, self._limits.multiple * median_s)

    def record(self, receipt: Receipt) -> bool:
        """Record that a shard is done; return False when it was done before."""
        self._failures_in_a_row = 0
        self._seconds_per_row.append(receipt.seconds / receipt.num_rows)
        self._failures.pop(receipt.shard, None)
        return self._close(receipt.shard)

    def requeue(self, shards: Sequence[AnyShard]) -> None:
        """Put shards back into the queue whose attempt does not count: their node died."""
        for shard in shards:
            if self._is_open[self._places.of(shard.number)]:
                self._queue.append(shard)

    def fail(self, shards: Sequence[AnyShard], reason: str, *, has_died: bool = False) -> None:
        """Record a failed attempt at a worker's shards; it counts for each, whichever caused it.

        ``has_died`` is False when the worker lives and storage refused.
        """
        for shard in shards:
            if not self._is_open[self._places.of(shard.number)]:
                continue
            failures = self._failures.setdefault(shard.number, _Failures())
            failures.attempts += 1
            failures.deaths += has_died
            if failures.attempts >= self._limits.max_attempts:
                self._given_up[shard.number] = reason
                self._close(shard.number)
            elif failures.deaths >= self._limits.max_deaths:
                self._suspects.append(shard)
            else:
                self._queue.append(shard)
        self._count_failure(reason)

    def record_poison(self, shard: AnyShard, poison: Mapping[int, str]) -> None:
        """Put a suspect back into the queue after its search.

        ``poison`` says by item_id how an item kills; it is empty when no item kills alone.
        """
        if not self._is_open[self._places.of(shard.number)]:
            return
        failures = self._failures.setdefault(shard.number, _Failures())
        failures.deaths = 0
        if poison:  # without these items it is another shard
            self._failures_in_a_row = 0
            failures.attempts = 0
        self._queue.append(replace(shard, poison={**shard.poison, **poison}))

    def _close(self, number: int) -> bool:
        """Mark a shard as done or given up; say whether it was open."""
        place = self._places.of(number)
        was_open = bool(self._is_open[place])
        self._is_open[place] = False
        self._num_open -= was_open
        return was_open

    def check_complete(self) -> None:
        if not self._given_up:
            return
        named = "; ".join(
            f"shard {number}: {reason}" for number, reason in list(self._given_up.items())[:_NAMED]
        )
        raise IncompleteRunError(
            f"{_missing(len(self._given_up))} after {self._limits.max_attempts} attempts each: "
            f"{named}"
        )

    def _count_failure(self, reason: str) -> None:
        self._failures_in_a_row += 1
        limit = self._limits.max_failures_in_a_row + self.num_workers - 1
        if self._failures_in_a_row >= limit:
            raise IncompleteRunError(
                f"{limit} attempts failed in a row, {self.describe_missing()}; the last failure: "
                f"{reason}"
            )


def _missing(num_shards: int) -> str:
    return "1 shard is missing" if num_shards == 1 else f"{num_shards} shards are missing"
