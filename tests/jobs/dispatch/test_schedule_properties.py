"""Whatever workers do and die of, each shard is given once at a time, and none is lost."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from jobs.dispatch.schedule import RetryLimits, Schedule
from jobs.rundir.shard import AnyShard, PlannedShard, Receipt

PATIENT = RetryLimits(max_attempts=10**6, max_failures_in_a_row=10**6)

numbers = st.sets(st.integers(0, 10_000), min_size=1, max_size=40).map(sorted)


def schedule_of(shards: list[int], limits: RetryLimits = PATIENT) -> Schedule:
    return Schedule([PlannedShard(number, 10) for number in shards], limits)


def receipt(shard: AnyShard) -> Receipt:
    return Receipt(
        shard=shard.number,
        num_items=10,
        num_ok=10,
        num_quarantined=0,
        seconds=1.0,
        created=True,
        device="cpu",
    )


@given(numbers, st.integers(1, 9), st.randoms(use_true_random=False))
def test_each_shard_is_given_once_whatever_the_regions(
    shards: list[int], num_workers: int, random: random.Random
):
    schedule = schedule_of(shards)
    regions = [schedule.new_region() for _ in range(num_workers)]
    assert all(0 <= region < len(shards) for region in regions)
    given: list[int] = []
    for _ in shards:
        worker = random.randrange(num_workers)
        fresh = [n for n in shards if n not in given]
        behind = [n for n in fresh if shards.index(n) >= regions[worker]]
        shard = schedule.take(regions[worker])
        assert shard is not None
        assert shard.number == (behind or fresh)[0]
        given.append(shard.number)
        regions[worker] = schedule.place_behind(shard)
    assert sorted(given) == shards
    assert schedule.take(random.choice(regions)) is None
    assert schedule.num_open == len(shards)


@given(st.integers(1, 10_000), st.integers(1, 64))
def test_regions_divide_a_run_evenly(num_shards: int, num_workers: int):
    schedule = schedule_of(list(range(num_shards)))
    regions = sorted(schedule.new_region() for _ in range(num_workers))
    assert regions[0] == 0
    longest = max(b - a for a, b in zip(regions, [*regions[1:], num_shards], strict=True))
    assert longest <= 2 * num_shards / num_workers + 1


class Workers:
    """Workers that do and fail at random, and what they know of the shards."""

    def __init__(self, shards: list[int], random: random.Random) -> None:
        limits = RetryLimits(max_attempts=4, max_failures_in_a_row=10**6)
        self.schedule = schedule_of(shards, limits)
        self.random = random
        self.num_shards = len(shards)
        self.held: list[AnyShard] = []
        self.suspects: list[AnyShard] = []
        self.done: set[int] = set()
        self.poison: dict[int, dict[int, str]] = {number: {} for number in shards}

    def take(self) -> None:
        self._hold(self.schedule.take(self.random.randint(0, self.num_shards)))

    def take_upcoming(self) -> None:
        if self.held:
            self._hold(self.schedule.take_upcoming(self.random.choice(self.held)))

    def record(self) -> None:
        for shard in self._let_go(1):
            assert self.schedule.record(receipt(shard))
            self.done.add(shard.number)

    def fail(self) -> None:
        has_died = self.random.random() < 0.7
        self.schedule.fail(self._let_go(2), "lost", has_died=has_died)

    def requeue(self) -> None:
        self.schedule.requeue(self._let_go(2))

    def take_suspect(self) -> None:
        suspect = self.schedule.take_suspect()
        if suspect is not None:
            self._require_free(suspect)
            self.suspects.append(suspect)

    def end_search(self) -> None:
        if not self.suspects:
            return
        suspect = self.suspects.pop()
        found = {self.random.randrange(10): "it kills"} if self.random.random() < 0.5 else {}
        self.poison[suspect.number] |= found
        self.schedule.record_poison(suspect, found)

    def let_all_go(self) -> None:
        """Lose all nodes."""
        while self.suspects:
            self.end_search()
        self.schedule.requeue(self.held)
        self.held.clear()

    def _hold(self, shard: AnyShard | None) -> None:
        if shard is not None:
            self._require_free(shard)
            self.held.append(shard)

    def _require_free(self, shard: AnyShard) -> None:
        assert shard.number not in {other.number for other in [*self.held, *self.suspects]}
        assert shard.number not in self.done
        assert shard.poison == self.poison[shard.number]

    def _let_go(self, most: int) -> list[AnyShard]:
        self.random.shuffle(self.held)
        count = min(len(self.held), self.random.randint(1, most))
        gone, self.held = self.held[:count], self.held[count:]
        return gone


@given(numbers, st.randoms(use_true_random=False))
def test_no_shard_is_lost_nor_held_twice_whatever_fails(shards: list[int], random: random.Random):
    workers = Workers(shards, random)
    ways = (
        *(workers.take, workers.take, workers.take_upcoming, workers.record),
        *(workers.fail, workers.requeue, workers.take_suspect, workers.end_search),
    )
    for _ in range(random.randint(0, 200)):
        random.choice(ways)()
    workers.let_all_go()
    for _ in range(2 * workers.schedule.num_open):  # a search and an attempt each
        workers.take_suspect()
        workers.end_search()
        workers.take()
        workers.record()
    assert workers.schedule.num_open == 0
    given_up = set(workers.schedule._given_up)
    assert workers.done | given_up == set(shards)
    assert not workers.done & given_up


@given(numbers, st.randoms(use_true_random=False))
def test_a_shard_that_keeps_failing_is_tried_as_often_as_stated_then_named(
    shards: list[int], random: random.Random
):
    limits = RetryLimits(max_attempts=3, max_deaths=10**6, max_failures_in_a_row=10**6)
    schedule = schedule_of(shards, limits)
    attempts = Counter[int]()
    bad = set(random.sample(shards, random.randint(0, len(shards))))
    while (shard := schedule.take()) is not None:
        attempts[shard.number] += 1
        if shard.number in bad:
            schedule.fail([shard], "lost", has_died=True)
        else:
            schedule.record(receipt(shard))
    assert attempts == {number: 3 if number in bad else 1 for number in shards}
    assert schedule.num_open == 0
    named = schedule.describe_missing()
    assert named.startswith("1 shard is" if len(bad) == 1 else f"{len(bad)} shards are")
    assert all(str(number) in named for number in sorted(bad)[:3])
