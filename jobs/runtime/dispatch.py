"""Hands shards out to Ray actors, one plain ``Worker`` in each."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# Ray's actors and references have no types

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fcos_core.errors import IncompleteRunError
from jobs.runtime.actor import make_detector
from jobs.runtime.cores import num_cores
from jobs.runtime.crew import Crew
from jobs.runtime.devices import Resources, device_model, local_resources
from jobs.runtime.messages import MakeWorker, Receipt, Shard, WorkerSettings
from jobs.runtime.ray_session import connected, first_line
from jobs.runtime.room import Room
from jobs.runtime.schedule import Patience, Schedule

_PROBE_TIMEOUT_S = 600.0  # a cluster may have to start a node first


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
    num_actors: int | None,
    address: str | None,
    on_receipt: Callable[[Receipt], None],
    patience: Patience | None = None,
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
        patience: how long to wait for what.
        make_worker: makes what computes, in the process of each actor.

    Raises:
        IncompleteRunError: shards are missing, and why.
    """
    if not shards:
        return
    num_local = num_actors or max(1, num_cores() // settings.threads)
    num_cpus = max(num_cores(), min(num_local, len(shards)) * settings.threads)
    with connected(address, num_cpus=num_cpus) as ray:
        patience = patience or Patience()
        crew = Crew(
            ray,
            Schedule(shards, patience),
            Room(ray, settings, num_actors),
            settings,
            patience,
            make_worker=make_worker,
            on_receipt=on_receipt,
        )
        try:
            crew.run()
        except ray.exceptions.RayTaskError:
            raise  # a bug, with the worker's own traceback
        except ray.exceptions.RayError as error:
            raise IncompleteRunError(f"Ray failed: {first_line(error)}") from error
        finally:
            crew.dismiss()
