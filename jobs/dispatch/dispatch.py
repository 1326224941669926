"""Distributes shards to Ray actors, each of which holds one ``Worker``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fcos_core.errors import IncompleteRunError
from jobs.dispatch.actor import make_detector
from jobs.dispatch.actor_pool import ActorPool
from jobs.dispatch.node_capacity import NodeCapacity
from jobs.dispatch.schedule import RetryLimits, Schedule
from jobs.parallel.cores import num_cores
from jobs.parallel.ray_session import connected, first_line
from jobs.rundir.shard import AnyShard, Receipt
from jobs.worker.messages import MakeWorker, WorkerSettings


def dispatch(
    shards: Sequence[AnyShard],
    settings: WorkerSettings,
    *,
    num_actors: int | None,
    address: str | None,
    on_receipt: Callable[[Receipt], None],
    on_waits: Callable[[Mapping[str, Callable[[], str]]], None] = lambda _: None,
    on_start: Callable[[], None] = lambda: None,
    limits: RetryLimits | None = None,
    make_worker: MakeWorker = make_detector,
) -> None:
    """Have shards computed and committed by actors, at most one actor per shard.

    The rows do not depend on which actor computes which shard, nor on their order, nor on actors
    that die.

    Args:
        shards: in any order, with their items or in the manifest of ``settings.run_uri``.
        settings: for the workers.
        num_actors: the most actors at one time; None for as many as the cluster has capacity for.
        address: of a Ray cluster; None starts one on this machine.
        on_receipt: called once for each committed shard.
        on_waits: called every few seconds with why workers wait, see ``ProgressReport.show_waits``.
        on_start: called once, when the first actor has loaded the model and no shard is given to
            any; what it raises ends the dispatch.
        limits: of time and retries.
        make_worker: makes the worker, in the process of each actor.

    Raises:
        IncompleteRunError: shards are missing; the message says which and why.
    """
    if not shards:
        return
    num_local = num_actors or max(1, num_cores() // settings.threads)
    num_cpus = max(num_cores(), num_local * settings.threads)
    with connected(address, num_cpus=num_cpus) as ray:
        limits = limits or RetryLimits()
        pool = ActorPool(
            ray,
            Schedule(shards, limits),
            NodeCapacity(ray, settings, num_actors),
            settings,
            limits,
            make_worker=make_worker,
            on_receipt=on_receipt,
            on_waits=on_waits,
        )
        try:
            pool.start()
            on_start()
            pool.run()
        except ray.exceptions.RayTaskError:
            raise  # a bug, with the worker's own traceback
        except ray.exceptions.RayError as error:
            raise IncompleteRunError(f"Ray failed: {first_line(error)}") from error
        finally:
            pool.shutdown()
