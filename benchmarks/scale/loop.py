"""The driver's loop with a stand-in for Ray in the same process: many actors, and no work."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from jobs.dispatch.actor_pool import ActorPool
from jobs.dispatch.node_capacity import NodeCapacity
from jobs.dispatch.planned_shards import PlannedShards
from jobs.dispatch.schedule import RetryLimits, Schedule
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.shard import PlannedShard, Receipt

_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What the loop took for all shards.

    ``cpu_s`` is of the driver's process; ``num_looks`` counts how often it asked for answers.
    """

    num_actors: int
    num_shards: int
    cpu_s: float
    num_looks: int


class _Reference:
    """The result of a call, there at once."""

    def __init__(self, value: object) -> None:
        self.value = value


class _Handle:
    """An actor: each of its methods has a ``remote``."""

    def __init__(self, answered: deque[_Reference]) -> None:
        self._answered = answered

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *arguments: self._answer(name, arguments))

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> _Reference:
        value: object = "node" if name == "ready" else None
        if name == "process":
            value = [_receipt(arguments[0])]
        elif name == "finish":
            value = []
        reference = _Reference(value)
        self._answered.append(reference)
        return reference


class InstantRay:
    """As much of Ray as the loop calls: every call is answered at once, in order."""

    exceptions = SimpleNamespace(RayTaskError=LookupError, RayError=OSError)

    def __init__(self) -> None:
        self._answered = deque[_Reference]()
        self.num_looks = 0

    def remote(self, _: type) -> SimpleNamespace:
        actor = SimpleNamespace(remote=lambda *_: _Handle(self._answered))
        return SimpleNamespace(options=lambda **_: actor)

    def wait(
        self, references: list[_Reference], *, timeout: float, num_returns: int = 1
    ) -> tuple[list[_Reference], list[_Reference]]:
        """Give the oldest answers; they stay there until they are fetched."""
        del references, timeout
        self.num_looks += 1
        return list(islice(self._answered, num_returns)), []

    def get(self, reference: _Reference, *, timeout: float) -> object:
        """Give an answer, which is the oldest."""
        del timeout
        assert self._answered.popleft() is reference
        return reference.value

    def kill(self, handle: _Handle) -> None:
        """Do nothing: there is no process."""


class _Capacity:
    """Room for so many actors."""

    def __init__(self, num_actors: int) -> None:
        self._num_actors = num_actors

    def num_actors(self) -> int:
        return self._num_actors

    def label_selector(self) -> None:
        return None

    def record_start(self, node: str | None, *, has_succeeded: bool) -> None:
        """Keep nothing: no node fails."""


def drive(num_actors: int, *, num_shards: int) -> Loop:
    """Hand out shards to actors that answer at once; receipts are counted and forgotten."""
    numbers = np.arange(num_shards)
    table = ShardTable(
        numbers=numbers.astype(np.int32),
        parts=np.zeros(num_shards, np.int32),
        first_items=numbers * _ROWS,
        num_items=np.full(num_shards, _ROWS, np.int32),
        num_rows=np.full(num_shards, _ROWS, np.int32),
    )
    ray, limits, done = InstantRay(), RetryLimits(), 0

    def count(_: Receipt) -> None:
        nonlocal done
        done += 1

    pool = ActorPool(
        cast("Any", ray),
        Schedule(PlannedShards(table), limits),
        cast("NodeCapacity", _Capacity(num_actors)),
        cast("Any", SimpleNamespace(threads=1, device="cpu")),
        limits,
        make_worker=cast("Callable[..., Any]", None),
        on_receipt=count,
        on_waits=lambda _: None,
    )
    started = time.process_time()
    pool.start()
    pool.run()
    pool.shutdown()
    assert done == num_shards
    return Loop(
        num_actors=num_actors,
        num_shards=num_shards,
        cpu_s=time.process_time() - started,
        num_looks=ray.num_looks,
    )


def _receipt(shard: PlannedShard) -> Receipt:
    return Receipt(
        shard=shard.number,
        num_items=_ROWS,
        num_ok=_ROWS,
        num_quarantined=0,
        seconds=1.0,
        created=True,
        device="none",
    )
