"""How many CPUs and GPUs there are, of which model: on this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fcos_core.errors import ConfigError
from jobs.parallel.child_process import ChildCrashedError, ChildProcess
from jobs.parallel.cores import num_cores
from jobs.parallel.devices import cpu_has_bf16, device_model
from jobs.parallel.libraries import Libraries, installed_libraries
from jobs.parallel.ray_session import connected
from jobs.waiting import waiting

_LOCAL_TIMEOUT_S = 300.0
_CLUSTER_TIMEOUT_S = 600.0  # a cluster may have to start a node first


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job can compute with.

    ``device`` is ``cuda`` where there is a CUDA device, else ``cpu``; ``device_model`` is that
    of the first device, which computes in bfloat16 itself where ``has_bf16`` is true.
    ``libraries`` are the versions that are installed where the work is done.
    """

    num_cpus: int
    num_gpus: int
    device: str
    device_model: str
    has_bf16: bool = False
    libraries: Libraries = field(default_factory=installed_libraries)


def probe(address: str | None) -> Resources:
    """Find out what a cluster has; without an address what this machine has, without Ray."""
    if address is None:
        return local_resources()
    with connected(address) as ray:
        total: Mapping[str, float] = ray.cluster_resources()
        num_cpus, num_gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0))
        device = "cuda" if num_gpus else "cpu"
        task = ray.remote(device_model).options(num_cpus=1, num_gpus=1 if num_gpus else 0)
        room = f"a free {'GPU' if num_gpus else 'CPU'}, the cluster has {num_gpus or num_cpus}"
        with waiting(lambda: f"waiting for {room}, to ask for the model of the device"):
            model: str = ray.get(task.remote(device), timeout=_CLUSTER_TIMEOUT_S)
        return Resources(num_cpus=num_cpus, num_gpus=num_gpus, device=device, device_model=model)


def local_resources() -> Resources:
    """Find out what this machine has."""
    import torch

    num_gpus = torch.cuda.device_count()
    device = "cuda" if num_gpus else "cpu"
    return Resources(
        num_cpus=num_cores(),
        num_gpus=num_gpus,
        device=device,
        device_model=_gpu_model() if num_gpus else device_model(device),
        has_bf16=cpu_has_bf16() if not num_gpus else False,
    )


def _gpu_model() -> str:
    # The end of the child frees the GPU memory that this takes.
    with ChildProcess(device_model) as child:
        try:
            return child.call("cuda", limit_s=_LOCAL_TIMEOUT_S)
        except (ChildCrashedError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"the GPU cannot be used: {reason}") from error
