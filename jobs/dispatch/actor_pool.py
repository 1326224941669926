"""The actors of one dispatch: who does what, who is lost, and what becomes of the shards then."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# Ray's actors and references have no types

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Literal

from fcos_core.errors import DeviceError, FcosError, IncompleteRunError
from jobs.dispatch.actor import WorkerActor
from jobs.dispatch.actor_errors import Loss, loss_of
from jobs.dispatch.node_capacity import Room
from jobs.dispatch.schedule import RetryLimits, Schedule
from jobs.parallel.ray_session import worker_options
from jobs.parallel.signals import check_interrupted
from jobs.rundir.shard import Failure, Outcome, Receipt, Shard
from jobs.worker.messages import MakeWorker, WorkerSettings

_Call = Literal["arrive", "start", "examine", "process", "finish", "nothing"]

_log = logging.getLogger(__name__)

_ANSWER_TIMEOUT_S = 60.0  # of a result that is ready


@dataclass(eq=False)
class _Member:
    """What the driver knows of one actor.

    Attributes:
        handle: of the actor.
        call: what it is doing.
        deadline: when that must be over, on the monotonic clock; None until it has arrived, since
            a cluster may let it wait for room.
        limit_s: how long that may take in all; 0 until it has arrived.
        node: where it has arrived.
        current: the shard it computes or examines.
        upcoming: the shard it loads meanwhile.
        computed: shards it may still be writing.
        is_started: whether it holds the model.
        is_warm: whether it has done a shard.
    """

    handle: Any
    call: _Call = "nothing"
    deadline: float | None = None
    limit_s: float = 0.0
    node: str | None = None
    current: Shard | None = None
    upcoming: Shard | None = None
    computed: list[Shard] = field(default_factory=list[Shard])
    is_started: bool = False
    is_warm: bool = False

    def held(self) -> list[Shard]:
        """All shards that are lost when the actor is."""
        return [*self.computed, *(s for s in (self.current, self.upcoming) if s is not None)]


class ActorPool:
    """The actors of one dispatch, and the loop that keeps them busy.

    Args:
        ray: the module, connected.
        schedule: of what is to be done.
        room: for the actors.
        settings: of every worker.
        limits: how long to wait for what.
        make_worker: makes what computes, in the process of each actor.
        on_receipt: told of each committed shard, once.
    """

    def __init__(
        self,
        ray: ModuleType,
        schedule: Schedule,
        room: Room,
        settings: WorkerSettings,
        limits: RetryLimits,
        *,
        make_worker: MakeWorker,
        on_receipt: Callable[[Receipt], None],
    ) -> None:
        self._ray = ray
        self._schedule = schedule
        self._room = room
        self._settings = settings
        self._limits = limits
        self._make_worker = make_worker
        self._on_receipt = on_receipt
        self._calls: dict[Hashable, _Member] = {}  # what is running, one call per member at most
        self._idle: list[_Member] = []
        self._last_progress = time.monotonic()

    def run(self) -> None:
        """Keep everybody busy until all shards are done or given up."""
        while self._schedule.num_open:
            check_interrupted()
            self._fill_up()
            ready, _ = self._ray.wait(list(self._calls), timeout=self._limits.poll_s)
            for reference in ready:
                self._hear(reference, self._calls.pop(reference))
            self._look_at_the_clock()
        self._schedule.check_complete()

    def dismiss(self) -> None:
        """End all actors; what they have not committed is lost."""
        for member in [*self._calls.values(), *self._idle]:
            self._kill(member)

    def _fill_up(self) -> None:
        """Give every idle member something to do, and replace those that were lost."""
        for member in list(self._idle):
            self._assign(member)
        self._schedule.num_workers = wanted = min(self._room.num_actors(), self._schedule.num_open)
        self._make_way_for_suspects(wanted)
        for _ in range(wanted - len(self._calls) - len(self._idle)):
            self._hire()

    def _make_way_for_suspects(self, wanted: int) -> None:
        """Let members go that have nothing to do: it takes fresh processes to examine shards."""
        members = [*self._calls.values(), *self._idle]
        num_fresh = sum(not m.is_started and m.call != "examine" for m in members)
        needed = self._schedule.num_suspects - num_fresh
        if needed <= 0:
            return
        surplus = max(0, len(members) - wanted)
        for member in self._idle[: surplus + needed]:
            self._idle.remove(member)
            self._kill(member)

    def _hire(self) -> None:
        actor = self._ray.remote(WorkerActor).options(
            num_cpus=self._settings.threads,
            num_gpus=1 if self._settings.device == "cuda" else 0,
            max_restarts=0,
            max_task_retries=0,
            label_selector=self._room.selector(),
            **worker_options(),
        )
        member = _Member(actor.remote(self._make_worker, self._settings))
        self._call(member, "arrive", member.handle.arrive.remote(), None)

    def _assign(self, member: _Member) -> None:
        if not member.is_started:
            self._assign_fresh(member)
            return
        shard = member.upcoming or self._schedule.take() or self._steal()
        member.upcoming = None
        if shard is not None:
            member.current = shard
            member.upcoming = self._schedule.take_upcoming(shard)
            call = member.handle.process.remote(shard, member.upcoming)
            limit_s = self._schedule.deadline_s(shard, is_first=not member.is_warm)
            self._call(member, "process", call, limit_s)
        elif member.computed:
            self._call(member, "finish", member.handle.finish.remote(), self._limits.floor_s)

    def _assign_fresh(self, member: _Member) -> None:
        suspect = self._schedule.take_suspect()
        if suspect is None:
            self._call(member, "start", member.handle.start.remote(), self._limits.start_s)
            return
        member.current = suspect
        limits = self._schedule.examination_limits(suspect)
        call = member.handle.examine.remote(suspect, limits)
        self._call(member, "examine", call, limits.longest_s(suspect.num_rows))

    def _steal(self) -> Shard | None:
        """Take what a busy member was to do next: at the end of a run nobody waits for one."""
        for member in self._calls.values():
            if member.upcoming is not None:
                shard, member.upcoming = member.upcoming, None
                return shard
        return None

    def _call(
        self, member: _Member, call: _Call, reference: Hashable, limit_s: float | None
    ) -> None:
        if member in self._idle:
            self._idle.remove(member)
        member.call = call
        member.limit_s = limit_s or 0.0
        member.deadline = None if limit_s is None else time.monotonic() + limit_s
        self._calls[reference] = member

    def _hear(self, reference: Hashable, member: _Member) -> None:
        """Take in what a call came to.

        Raises:
            FcosError: the worker says that the run cannot work.
        """
        exceptions = self._ray.exceptions
        try:
            answer: Any = self._ray.get(reference, timeout=_ANSWER_TIMEOUT_S)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, DeviceError):
                self._lose(member, Loss(str(error.cause)))
                return
            if isinstance(error.cause, FcosError):
                raise error.cause from None  # one line says it; the rest is Ray's
            raise
        except exceptions.RayError as error:
            loss = loss_of(self._ray, error)
            if not self._room.is_alive(member.node):
                loss = replace(loss, is_counted=False)
            self._lose(member, loss)
            return
        call, member.call = member.call, "nothing"
        self._idle.append(member)
        if call == "arrive":
            member.node = answer
        elif call == "start":
            member.is_started = True
            self._room.note_start(member.node, is_good=True)
        elif call == "examine":
            self._take_findings(member, answer)
        else:
            self._take_outcomes(member, call, answer)

    def _take_findings(self, member: _Member, found: dict[int, str]) -> None:
        shard, member.current = member.current, None
        assert shard is not None
        for item_id, reason in found.items():
            _log.warning("item %d of shard %d is quarantined: %s", item_id, shard.number, reason)
        if found:
            self._last_progress = time.monotonic()
        self._schedule.examined(shard, found)

    def _take_outcomes(self, member: _Member, call: _Call, outcomes: Sequence[Outcome]) -> None:
        if call == "process" and member.current is not None:
            member.computed.append(member.current)
            member.current = None
            member.is_warm = True
        for outcome in outcomes:
            self._note(member, outcome)
        assert call != "finish" or not member.computed

    def _note(self, member: _Member, outcome: Outcome) -> None:
        about = [shard for shard in member.computed if shard.number == outcome.shard]
        member.computed = [shard for shard in member.computed if shard not in about]
        if isinstance(outcome, Failure):
            _log.warning("shard %d is tried again: %s", outcome.shard, outcome.error)
            self._schedule.fail(about, outcome.error)
            return
        self._last_progress = time.monotonic()
        if self._schedule.record(outcome):
            self._on_receipt(outcome)

    def _lose(self, member: _Member, loss: Loss) -> None:
        """Do without a member, whose shards go back to the queue."""
        self._kill(member)
        numbers = ", ".join(str(shard.number) for shard in member.held())
        _log.warning("a worker was lost with shards %s: %s", numbers or "none", loss.reason)
        if not loss.is_counted:
            self._schedule.requeue(member.held())
            return
        if member.call == "start":
            self._room.note_start(member.node, is_good=False)
        self._schedule.fail(member.held(), loss.reason, died=member.call != "examine")

    def _kill(self, member: _Member) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):  # it is dead already
            self._ray.kill(member.handle)

    def _look_at_the_clock(self) -> None:
        """Lose members that are late.

        Raises:
            IncompleteRunError: no shard is done, for too long.
        """
        now = time.monotonic()
        for reference, member in list(self._calls.items()):
            if member.deadline is not None and now > member.deadline:
                del self._calls[reference]
                self._lose(member, Loss(f"no answer to {member.call!r} within its deadline"))
        # Whoever computes may take its time; but a pool that is lost again and again may not.
        allowed_s = max((member.limit_s for member in self._calls.values()), default=0.0)
        allowed_s += self._limits.no_progress_s
        if now - self._last_progress > allowed_s:
            raise IncompleteRunError(
                f"no shard was done for {allowed_s:g} s, {self._schedule.num_open} shards are "
                f"missing ({self._schedule.open_numbers()}): {self._room.describe()}"
            )
