"""What there is to compute with, here or on a cluster."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# Ray's actors and references have no types

from __future__ import annotations

from collections.abc import Mapping

from jobs.parallel.devices import Resources, device_model, local_resources
from jobs.parallel.ray_session import connected

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
