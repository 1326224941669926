"""The actors of one dispatch: what each of them does, and what happens when one fails."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any, Literal

from fcos_core.errors import DeviceError, FcosError, IncompleteRunError
from jobs.dispatch.actor import WorkerActor
from jobs.dispatch.actor_errors import ActorFailure, classify_actor_error
from jobs.dispatch.node_capacity import NodeCapacity
from jobs.dispatch.schedule import RetryLimits, Schedule
from jobs.parallel.ray_session import worker_options
from jobs.parallel.ray_watch import check_ray
from jobs.parallel.signals import check_interrupted
from jobs.rundir.shard import AnyShard, Failure, Outcome, Receipt
from jobs.worker.messages import MakeWorker, WorkerSettings

_Call = Literal["ready", "start", "find_poison", "process", "finish", "nothing"]

_log = logging.getLogger(__name__)

_GET_TIMEOUT_S = 60.0  # of a result that is ready
_WAITS_EVERY_S = 2.0
_WAITS: dict[str, str] = {
    "ready": "waiting for a place",
    "start": "loading the model",
    "find_poison": "searching a shard for the item that kills workers",
}


@dataclass(eq=False)
class ActorState:
    """What the driver knows of one actor.

    Attributes:
        handle: Ray's handle.
        call: the method that is running.
        deadline: end of the call's time, on the monotonic clock; None until the actor is ready,
            since it may have to wait until the cluster has capacity.
        limit_s: length of the call's time; 0 until the actor is ready.
        node: the actor's node, once it is ready.
        region: the place in the schedule where its next shard is looked for.
        current: the shard that is computed, or searched for poison.
        upcoming: the shard that is prefetched meanwhile.
        computed: shards whose files may still be being written.
        is_started: whether the model is loaded.
        is_warm: whether a shard has been computed.
    """

    handle: Any
    call: _Call = "nothing"
    deadline: float | None = None
    limit_s: float = 0.0
    node: str | None = None
    region: int = 0
    current: AnyShard | None = None
    upcoming: AnyShard | None = None
    computed: list[AnyShard] = field(default_factory=list[AnyShard])
    is_started: bool = False
    is_warm: bool = False

    def uncommitted(self) -> list[AnyShard]:
        """Return all shards that another actor must compute when this one fails."""
        return [*self.computed, *(s for s in (self.current, self.upcoming) if s is not None)]


class ActorPool:
    """The actors of one dispatch, and the loop that gives them work; see ``dispatch``."""

    def __init__(
        self,
        ray: ModuleType,
        schedule: Schedule,
        capacity: NodeCapacity,
        settings: WorkerSettings,
        limits: RetryLimits,
        *,
        make_worker: MakeWorker,
        on_receipt: Callable[[Receipt], None],
        on_waits: Callable[[Mapping[str, Callable[[], str]]], None],
    ) -> None:
        self._ray = ray
        self._schedule = schedule
        self._capacity = capacity
        self._settings = settings
        self._limits = limits
        self._make_worker = make_worker
        self._on_receipt = on_receipt
        self._on_waits = on_waits
        self._waits_shown_at = float("-inf")
        self._calls: dict[Hashable, ActorState] = {}  # running; one call per actor at most
        self._idle: list[ActorState] = []
        self._last_progress = time.monotonic()

    def start(self) -> None:
        """Start the actors, and wait until the first of them has loaded the model."""
        while not any(actor.is_started for actor in self._idle):
            self._go_on()
        self._last_progress = time.monotonic()

    def run(self) -> None:
        """Give the actors work until all shards are done or given up."""
        while self._schedule.num_open:
            self._go_on()
        self._schedule.check_complete()

    def _go_on(self) -> None:
        check_interrupted()
        check_ray()
        self._fill_up()
        for reference in self._wait():
            self._handle_result(reference, self._calls.pop(reference))
        self._check_deadlines()
        self._show_waits()

    def _wait(self) -> Sequence[Hashable]:
        """Wait for an answer, and take all that are there: a look costs time for every actor."""
        calls = list(self._calls)
        ready, _ = self._ray.wait(calls, timeout=self._limits.poll_s)
        if ready and len(calls) > 1:
            ready, _ = self._ray.wait(calls, num_returns=len(calls), timeout=0)
        return ready

    def shutdown(self) -> None:
        for actor in [*self._calls.values(), *self._idle]:
            self._kill(actor)

    def _fill_up(self) -> None:
        """Give every idle actor something to do, and replace those that failed."""
        for actor in list(self._idle):
            self._assign(actor)
        wanted = min(self._capacity.num_actors(), self._schedule.num_open)
        self._schedule.num_workers = wanted
        self._free_actors_for_suspects(wanted)
        for _ in range(wanted - len(self._calls) - len(self._idle)):
            self._start_actor()

    def _free_actors_for_suspects(self, wanted: int) -> None:
        """End idle actors that hold a model: only an actor without one can search for poison."""
        actors = [*self._calls.values(), *self._idle]
        num_fresh = sum(not a.is_started and a.call != "find_poison" for a in actors)
        needed = self._schedule.num_suspects - num_fresh
        if needed <= 0:
            return
        surplus = max(0, len(actors) - wanted)
        for actor in self._idle[: surplus + needed]:
            self._idle.remove(actor)
            self._kill(actor)

    def _start_actor(self) -> None:
        remote_class = self._ray.remote(WorkerActor).options(
            num_cpus=self._settings.threads,
            num_gpus=1 if self._settings.device == "cuda" else 0,
            max_restarts=0,
            max_task_retries=0,
            label_selector=self._capacity.label_selector(),
            **worker_options(),
        )
        handle = remote_class.remote(self._make_worker, self._settings)
        actor = ActorState(handle, region=self._schedule.new_region())
        self._call(actor, "ready", actor.handle.ready.remote(), None)

    def _assign(self, actor: ActorState) -> None:
        if not actor.is_started:
            self._assign_fresh(actor)
            return
        shard = (
            actor.upcoming or self._schedule.take(actor.region) or self._take_upcoming_of_another()
        )
        actor.upcoming = None
        if shard is not None:
            actor.current = shard
            actor.region = self._schedule.place_behind(shard)
            actor.upcoming = self._schedule.take_upcoming(shard)
            call = actor.handle.process.remote(shard, actor.upcoming)
            limit_s = self._schedule.deadline_s(shard, is_first=not actor.is_warm)
            self._call(actor, "process", call, limit_s)
        elif actor.computed:
            self._call(actor, "finish", actor.handle.finish.remote(), self._limits.floor_s)

    def _assign_fresh(self, actor: ActorState) -> None:
        suspect = self._schedule.take_suspect()
        if suspect is None:
            self._call(actor, "start", actor.handle.start.remote(), self._limits.start_s)
            return
        actor.current = suspect
        limits = self._schedule.poison_search_limits(suspect)
        call = actor.handle.find_poison.remote(suspect, limits)
        self._call(actor, "find_poison", call, limits.longest_s(suspect.num_rows))

    def _take_upcoming_of_another(self) -> AnyShard | None:
        """Take the next shard of a busy actor, so that none is idle at the end of a run."""
        for actor in self._calls.values():
            if actor.upcoming is not None:
                shard, actor.upcoming = actor.upcoming, None
                return shard
        return None

    def _call(
        self, actor: ActorState, call: _Call, reference: Hashable, limit_s: float | None
    ) -> None:
        if actor in self._idle:
            self._idle.remove(actor)
        actor.call = call
        actor.limit_s = limit_s or 0.0
        actor.deadline = None if limit_s is None else time.monotonic() + limit_s
        self._calls[reference] = actor

    def _handle_result(self, reference: Hashable, actor: ActorState) -> None:
        exceptions = self._ray.exceptions
        try:
            result: Any = self._ray.get(reference, timeout=_GET_TIMEOUT_S)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, DeviceError):
                self._handle_failure(actor, ActorFailure(str(error.cause)))
                return
            if isinstance(error.cause, FcosError):
                raise error.cause from None  # without Ray's own text around it
            raise
        except exceptions.RayError as error:
            check_ray()  # a Ray that has died says nothing of the shards
            failure = classify_actor_error(self._ray, error)
            if not self._capacity.is_alive(actor.node):
                failure = replace(failure, is_counted=False)
            self._handle_failure(actor, failure)
            return
        call, actor.call = actor.call, "nothing"
        self._idle.append(actor)
        if call == "ready":
            actor.node = result
        elif call == "start":
            actor.is_started = True
            self._capacity.record_start(actor.node, has_succeeded=True)
        elif call == "find_poison":
            self._record_poison(actor, result)
        else:
            self._record_outcomes(actor, call, result)

    def _record_poison(self, actor: ActorState, poison: dict[int, str]) -> None:
        shard, actor.current = actor.current, None
        assert shard is not None
        for item_id, reason in poison.items():
            _log.warning("item %d of shard %d is quarantined: %s", item_id, shard.number, reason)
        if poison:
            self._last_progress = time.monotonic()
        self._schedule.record_poison(shard, poison)

    def _record_outcomes(self, actor: ActorState, call: _Call, outcomes: Sequence[Outcome]) -> None:
        if call == "process" and actor.current is not None:
            actor.computed.append(actor.current)
            actor.current = None
            actor.is_warm = True
        for outcome in outcomes:
            self._record_outcome(actor, outcome)
        assert call != "finish" or not actor.computed

    def _record_outcome(self, actor: ActorState, outcome: Outcome) -> None:
        shards = [shard for shard in actor.computed if shard.number == outcome.shard]
        actor.computed = [shard for shard in actor.computed if shard not in shards]
        if isinstance(outcome, Failure):
            _log.warning("shard %d is retried: %s", outcome.shard, outcome.error)
            self._schedule.fail(shards, outcome.error)
            return
        self._last_progress = time.monotonic()
        if self._schedule.record(outcome):
            self._on_receipt(outcome)

    def _handle_failure(self, actor: ActorState, failure: ActorFailure) -> None:
        self._kill(actor)
        shards = actor.uncommitted()
        numbers = ", ".join(str(shard.number) for shard in shards)
        _log.warning("a worker with shards %s failed: %s", numbers or "none", failure.reason)
        if not failure.is_counted:
            self._schedule.requeue(shards)
            return
        if actor.call == "start":
            self._capacity.record_start(actor.node, has_succeeded=False)
        self._schedule.fail(shards, failure.reason, has_died=actor.call != "find_poison")

    def _kill(self, actor: ActorState) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):  # it is dead already
            self._ray.kill(actor.handle)

    def _show_waits(self) -> None:
        """Say of which workers nothing can be expected yet, and why."""
        now = time.monotonic()
        if now - self._waits_shown_at < _WAITS_EVERY_S:
            return
        self._waits_shown_at = now
        numbers = Counter(actor.call for actor in self._calls.values() if actor.call in _WAITS)
        self._on_waits({call: partial(self._describe, call, numbers[call]) for call in numbers})

    def _describe(self, call: str, number: int) -> str:
        workers = "1 worker" if number == 1 else f"{number} workers"
        why = f": {self._capacity.describe_room()}" if call == "ready" else ""
        return f"{workers} {_WAITS[call]}{why}"

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for reference, actor in list(self._calls.items()):
            if actor.deadline is not None and now > actor.deadline:
                del self._calls[reference]
                reason = f"no answer to {actor.call!r} within {actor.limit_s:g} s"
                self._handle_failure(actor, ActorFailure(reason))
        # A running call has its own limit; this ends a run whose actors fail again and again.
        allowed_s = max((actor.limit_s for actor in self._calls.values()), default=0.0)
        allowed_s += self._limits.no_progress_s
        if now - self._last_progress > allowed_s:
            raise IncompleteRunError(
                f"no shard was done for {allowed_s:g} s, {self._schedule.describe_missing()}: "
                f"{self._capacity.describe()}"
            )
