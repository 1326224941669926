"""Hands shards out to Ray actors, one plain ``Worker`` in each."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# Ray's actors and references have no types

from __future__ import annotations

from collections.abc import Callable, Sequence

from fcos_core.errors import IncompleteRunError
from jobs.dispatch.actor import make_detector
from jobs.dispatch.actor_pool import ActorPool
from jobs.dispatch.node_capacity import Room
from jobs.dispatch.schedule import RetryLimits, Schedule
from jobs.parallel.cores import num_cores
from jobs.parallel.ray_session import connected, first_line
from jobs.rundir.shard import Receipt, Shard
from jobs.worker.messages import MakeWorker, WorkerSettings

_PROBE_TIMEOUT_S = 600.0  # a cluster may have to start a node first


def dispatch(
    shards: Sequence[Shard],
    settings: WorkerSettings,
    *,
    num_actors: int | None,
    address: str | None,
    on_receipt: Callable[[Receipt], None],
    limits: RetryLimits | None = None,
    make_worker: MakeWorker = make_detector,
) -> None:
    """Have shards computed and committed, by as many actors as asked for or as there are shards.

    The rows do not depend on who computes which shard, in which order, or on who dies meanwhile.

    Args:
        shards: what is to be done, in any order.
        settings: of every worker.
        num_actors: how many at most; None has as many as there is room for, at any time.
        address: of a Ray cluster; None starts one on this machine and ends it.
        on_receipt: told of each committed shard, once.
        limits: how long to wait for what.
        make_worker: makes what computes, in the process of each actor.

    Raises:
        IncompleteRunError: shards are missing, and why.
    """
    if not shards:
        return
    num_local = num_actors or max(1, num_cores() // settings.threads)
    num_cpus = max(num_cores(), min(num_local, len(shards)) * settings.threads)
    with connected(address, num_cpus=num_cpus) as ray:
        limits = limits or RetryLimits()
        pool = ActorPool(
            ray,
            Schedule(shards, limits),
            Room(ray, settings, num_actors),
            settings,
            limits,
            make_worker=make_worker,
            on_receipt=on_receipt,
        )
        try:
            pool.run()
        except ray.exceptions.RayTaskError:
            raise  # a bug, with the worker's own traceback
        except ray.exceptions.RayError as error:
            raise IncompleteRunError(f"Ray failed: {first_line(error)}") from error
        finally:
            pool.dismiss()
