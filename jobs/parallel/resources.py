"""How many CPUs and GPUs there are, of which model: on this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fcos_core.errors import ConfigError
from jobs.parallel.child_process import ChildCrashedError, ChildProcess
from jobs.parallel.cores import num_cores
from jobs.parallel.devices import Device, find_device, may_have_gpu, needs_torch, num_gpus
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
    ``libraries`` are the versions that are installed where the work is done, and
    ``free_gpu_bytes`` the memory of the first GPU that nobody uses.
    """

    num_cpus: int
    num_gpus: int
    device: str
    device_model: str
    has_bf16: bool = False
    libraries: Libraries = field(default_factory=installed_libraries)
    free_gpu_bytes: int | None = None


@dataclass(frozen=True)
class _LocalDevices:
    """The number of GPUs of this machine, and the device to compute with."""

    num_gpus: int
    device: Device


def probe(address: str | None) -> Resources:
    """Find out what a cluster has; without an address what this machine has, without Ray."""
    if address is None:
        return local_resources()
    with connected(address) as ray:
        total: Mapping[str, float] = ray.cluster_resources()
        gpus = int(total.get("GPU", 0))
        num_cpus = int(total.get("CPU", 0))
        name = "cuda" if gpus else "cpu"
        task = ray.remote(find_device).options(num_cpus=1, num_gpus=1 if gpus else 0)
        room = f"a free {'GPU' if gpus else 'CPU'}, the cluster has {gpus or num_cpus}"
        with waiting(lambda: f"waiting for {room}, to ask for the model of the device"):
            device: Device = ray.get(task.remote(name), timeout=_CLUSTER_TIMEOUT_S)
        return _resources(num_cpus, gpus, device)


def local_resources() -> Resources:
    """Find out what this machine has; torch is imported in another process, and only if needed.

    Raises:
        ConfigError: there is a GPU, and it does not work.
    """
    if not may_have_gpu() and not needs_torch():
        return _resources(num_cores(), 0, find_device("cpu"))
    # The end of the child also frees the GPU memory that this takes.
    with ChildProcess(_find_devices) as child:
        try:
            found = child.call(None, limit_s=_LOCAL_TIMEOUT_S)
        except (ChildCrashedError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"the GPU cannot be used: {reason}") from error
    return _resources(num_cores(), found.num_gpus, found.device)


def _find_devices(_: None) -> _LocalDevices:
    count = num_gpus()
    return _LocalDevices(count, find_device("cuda" if count else "cpu"))


def _resources(num_cpus: int, gpus: int, device: Device) -> Resources:
    return Resources(
        num_cpus=num_cpus,
        num_gpus=gpus,
        device="cuda" if gpus else "cpu",
        device_model=device.model,
        has_bf16=device.has_bf16,
        libraries=device.libraries,
        free_gpu_bytes=device.free_bytes,
    )
