"""How the workers of a training find one another: through a file that only their user can open.

torch's own way is a server that listens on all addresses and asks nobody who he is.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Ray has no types

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch.distributed as dist
from ray.exceptions import GetTimeoutError
from ray.train import get_context
from ray.train.backend import Backend, BackendConfig
from ray.train.torch import TorchConfig

_LEAVE_TIMEOUT_S = 30.0
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_ONE_MACHINE = {"GLOO_SOCKET_IFNAME": _LOOPBACK, "NCCL_SOCKET_IFNAME": _LOOPBACK}
_NCCL = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}  # as Ray Train sets it


@dataclass
class FileConfig(TorchConfig):
    """Ray Train's configuration of torch, with a process group whose workers meet in a file.

    Attributes:
        file: a path that all workers can open, in a folder that only their user can enter; no
            other process group has used it.
    """

    file: str = ""

    @property
    def backend_cls(self) -> type[Backend]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _FileBackend


class _FileBackend(Backend):
    share_cuda_visible_devices = True  # as in Ray Train's own backend for torch

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:  # noqa: ANN401
        assert isinstance(backend_config, FileConfig)
        worker_group.execute(
            _join, backend_config.file, backend_config.backend, backend_config.timeout_s
        )

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:  # noqa: ANN401
        del backend_config
        with contextlib.suppress(GetTimeoutError):  # a worker hangs; Ray Train kills it
            ray.get(worker_group.execute_async(_leave), timeout=_LEAVE_TIMEOUT_S)


def _join(file: str, backend: str, timeout_s: int) -> None:
    context = get_context()
    count = context.get_world_size()
    os.environ.update({name: os.environ.get(name, value) for name, value in _NCCL.items()})
    if context.get_local_world_size() == count:
        os.environ.update(_ONE_MACHINE)
    dist.init_process_group(
        backend,
        store=dist.FileStore(file, count),  # pyright: ignore[reportPrivateImportUsage]
        rank=context.get_world_rank(),
        world_size=count,
        timeout=timedelta(seconds=timeout_s),
    )


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
