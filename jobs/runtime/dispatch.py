"""Hands shards out to Ray actors, one plain ``Worker`` in each."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# Ray's actors and references have no types

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

from fcos_core.errors import FcosError, IncompleteRunError
from jobs.runtime.commits import Failure, Outcome, Receipt
from jobs.runtime.cores import num_cores
from jobs.runtime.devices import Resources, device_model, local_resources
from jobs.runtime.ray_session import connected, first_line, worker_options
from jobs.runtime.schedule import Patience, Schedule
from jobs.runtime.surroundings import check_interrupted
from jobs.runtime.worker import Shard, Worker, WorkerSettings

_Call = Literal["start", "process", "finish", "nothing"]

_log = logging.getLogger(__name__)

_ANSWER_TIMEOUT_S = 60.0  # of a result that is ready
_PROBE_TIMEOUT_S = 600.0  # a cluster may have to start a node first


class _WorkerActor:
    """A worker in a process of its own; made in ``start``, so that its errors arrive unchanged."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._worker: Worker | None = None

    def start(self) -> None:
        """Load the model."""
        self._worker = Worker(self._settings)

    def process(self, shard: Shard, upcoming: Shard | None) -> list[Outcome]:
        """See ``Worker.process``."""
        assert self._worker is not None
        return self._worker.process(shard, upcoming)

    def finish(self) -> list[Outcome]:
        """See ``Worker.finish``."""
        assert self._worker is not None
        return self._worker.finish()


@dataclass(eq=False)
class _Member:
    """What the driver knows of one actor.

    Attributes:
        handle: of the actor.
        call: what it is doing.
        deadline: when that must be over, on the monotonic clock; None while it starts, since a
            cluster may let it wait for room.
        current: the shard it computes.
        upcoming: the shard it loads meanwhile.
        computed: shards it may still be writing.
        is_warm: whether it has done a shard.
    """

    handle: Any
    call: _Call = "nothing"
    deadline: float | None = None
    current: Shard | None = None
    upcoming: Shard | None = None
    computed: list[Shard] = field(default_factory=list[Shard])
    is_warm: bool = False

    def held(self) -> list[Shard]:
        """All shards that are lost when the actor is."""
        return [*self.computed, *(s for s in (self.current, self.upcoming) if s is not None)]


def probe(address: str | None) -> Resources:
    """Look at what there is to compute with.

    Args:
        address: of a Ray cluster; None for this machine, where no Ray is started to look.
    """
    if address is None:
        return local_resources()
    with connected(address) as ray:
        total: Mapping[str, float] = ray.cluster_resources()
        num_gpus = int(total.get("GPU", 0))
        device = "cuda" if num_gpus else "cpu"
        task = ray.remote(device_model).options(num_cpus=1, num_gpus=1 if num_gpus else 0)
        model: str = ray.get(task.remote(device), timeout=_PROBE_TIMEOUT_S)
        return Resources(
            num_cpus=int(total.get("CPU", 0)), num_gpus=num_gpus, device=device, device_model=model
        )


def dispatch(
    shards: Sequence[Shard],
    settings: WorkerSettings,
    *,
    num_actors: int,
    address: str | None,
    on_receipt: Callable[[Receipt], None],
    patience: Patience | None = None,
) -> None:
    """Have shards computed and committed, by as many actors as asked for or as there are shards.

    The rows do not depend on who computes which shard, in which order, or on who dies meanwhile.

    Args:
        shards: what is to be done, in any order.
        settings: of every worker.
        num_actors: how many at most.
        address: of a Ray cluster; None starts one on this machine and ends it.
        on_receipt: told of each committed shard, once.
        patience: how long to wait for what.

    Raises:
        IncompleteRunError: shards are missing, and why.
    """
    if not shards:
        return
    num_actors = min(num_actors, len(shards))
    num_cpus = max(num_cores(), num_actors * settings.threads)
    with connected(address, num_cpus=num_cpus) as ray:
        crew = _Crew(ray, shards, settings, num_actors, on_receipt, patience or Patience())
        try:
            crew.run()
        except ray.exceptions.RayTaskError:
            raise  # a bug, with the worker's own traceback
        except ray.exceptions.RayError as error:
            raise IncompleteRunError(f"Ray failed: {first_line(error)}") from error
        finally:
            crew.dismiss()


class _Crew:
    """The actors of one dispatch, and the loop that keeps them busy."""

    def __init__(
        self,
        ray: ModuleType,
        shards: Sequence[Shard],
        settings: WorkerSettings,
        num_actors: int,
        on_receipt: Callable[[Receipt], None],
        patience: Patience,
    ) -> None:
        self._ray = ray
        self._schedule = Schedule(shards, patience)
        self._settings = settings
        self._num_actors = num_actors
        self._on_receipt = on_receipt
        self._patience = patience
        self._calls: dict[Hashable, _Member] = {}  # what is running, one call per member at most
        self._idle: list[_Member] = []
        self._last_progress = time.monotonic()

    def run(self) -> None:
        """Keep everybody busy until all shards are done or given up."""
        while self._schedule.num_open:
            check_interrupted()
            self._fill_up()
            ready, _ = self._ray.wait(list(self._calls), timeout=self._patience.poll_s)
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
        wanted = min(self._num_actors, self._schedule.num_open)
        for _ in range(wanted - len(self._calls) - len(self._idle)):
            self._hire()

    def _hire(self) -> None:
        actor = self._ray.remote(_WorkerActor).options(
            num_cpus=self._settings.threads,
            num_gpus=1 if self._settings.device == "cuda" else 0,
            max_restarts=0,
            max_task_retries=0,
            **worker_options(),
        )
        member = _Member(actor.remote(self._settings))
        self._call(member, "start", member.handle.start.remote(), None)

    def _assign(self, member: _Member) -> None:
        shard = member.upcoming or self._schedule.take() or self._steal()
        member.upcoming = None
        if shard is not None:
            member.current = shard
            member.upcoming = self._schedule.take_upcoming(shard)
            call = member.handle.process.remote(shard, member.upcoming)
            limit_s = self._schedule.deadline_s(shard, is_first=not member.is_warm)
            self._call(member, "process", call, limit_s)
        elif member.computed:
            self._call(member, "finish", member.handle.finish.remote(), self._patience.floor_s)

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
        member.deadline = None if limit_s is None else time.monotonic() + limit_s
        self._calls[reference] = member

    def _hear(self, reference: Hashable, member: _Member) -> None:
        """Take in what a call came to.

        Raises:
            FcosError: the worker says that the run cannot work.
        """
        exceptions = self._ray.exceptions
        try:
            outcomes: list[Outcome] | None = self._ray.get(reference, timeout=_ANSWER_TIMEOUT_S)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, FcosError):
                raise error.cause from None  # one line says it; the rest is Ray's
            raise
        except exceptions.RayError as error:
            self._lose(member, first_line(error))
            return
        self._last_progress = time.monotonic()
        call, member.call = member.call, "nothing"
        if call == "process" and member.current is not None:
            member.computed.append(member.current)
            member.current = None
            member.is_warm = True
        self._idle.append(member)
        for outcome in outcomes or ():
            self._note(member, outcome)
        assert call != "finish" or not member.computed

    def _note(self, member: _Member, outcome: Outcome) -> None:
        about = [shard for shard in member.computed if shard.number == outcome.shard]
        member.computed = [shard for shard in member.computed if shard not in about]
        if isinstance(outcome, Failure):
            _log.warning("shard %d is tried again: %s", outcome.shard, outcome.error)
            self._schedule.fail(about, outcome.error)
        elif self._schedule.record(outcome):
            self._on_receipt(outcome)

    def _lose(self, member: _Member, reason: str) -> None:
        """Do without a member, whose shards go back to the queue."""
        self._kill(member)
        numbers = ", ".join(str(shard.number) for shard in member.held())
        _log.warning("a worker was lost with shards %s: %s", numbers or "none", reason)
        self._schedule.fail(member.held(), reason)

    def _kill(self, member: _Member) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):  # it is dead already
            self._ray.kill(member.handle)

    def _look_at_the_clock(self) -> None:
        """Lose members that are late.

        Raises:
            IncompleteRunError: nobody computes anything, for too long.
        """
        now = time.monotonic()
        for reference, member in list(self._calls.items()):
            if member.deadline is not None and now > member.deadline:
                del self._calls[reference]
                self._lose(member, f"no answer to {member.call!r} within its deadline")
        if any(member.deadline is not None for member in self._calls.values()):
            return  # somebody computes, within its deadline
        if now - self._last_progress > self._patience.no_progress_s:
            raise IncompleteRunError(
                f"nothing happened for {self._patience.no_progress_s:g} s, "
                f"{self._schedule.num_open} shards are missing: no worker could start; each needs "
                f"{self._settings.threads} CPUs and a {self._settings.device} device, the cluster "
                f"has {self._ray.cluster_resources()}"
            )
