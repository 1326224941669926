"""A connection to Ray: to a cluster, or to a private one that lives as long as the command."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# Ray's actors and references have no types

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fcos_core.errors import ConfigError, IncompleteRunError
from jobs.parallel.ray_environment import ray_environment
from jobs.parallel.ray_scratch import kill_users, scratch_folder
from jobs.parallel.signals import environment, kept_signal_handlers, quiet_stdout
from jobs.storage.s3.access import exported_variables

_log = logging.getLogger(__name__)

_START_ATTEMPTS = 3
_REACH_S, _REACH_PAUSE_S = 5.0, 0.5
_OBJECT_STORE_BYTES = 128 * 2**20  # images never pass through it, only items and receipts


@contextlib.contextmanager
def connected(address: str | None, *, num_cpus: int | None = None) -> Generator[ModuleType]:
    """Connect to a cluster, or start one on this machine for the time being.

    A connection that this process has already is used and left as it is.

    Args:
        address: of the cluster; None for one of our own.
        num_cpus: of our own one.

    Yields:
        The ``ray`` module, connected.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield sys.modules["ray"]
        return
    with (
        environment(ray_environment(address)),
        scratch_folder() as folder,
        quiet_stdout(),
        kept_signal_handlers() as restore_handlers,
    ):
        if address:
            _require_listener(address)
        import ray  # its environment is set only now

        if address:
            where: dict[str, Any] = {"address": address}
        else:
            where = {
                "address": "local",
                "num_cpus": num_cpus,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_temp_dir": str(folder),
            }
        try:
            _connect(ray, where, folder)
            restore_handlers()
            yield ray
        finally:
            ray.shutdown()


def _require_listener(address: str) -> None:
    """See that somebody listens there: Ray itself was still trying after five minutes.

    Raises:
        ConfigError: nobody does.
    """
    named = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = named.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # what Ray has to look up, or to complain of
    end = time.monotonic() + _REACH_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
        except (OSError, OverflowError) as error:
            if time.monotonic() > end or isinstance(error, OverflowError):
                reason = getattr(error, "strerror", None) or error
                raise ConfigError(f"Ray cluster {named!r} cannot be reached: {reason}") from error
            time.sleep(_REACH_PAUSE_S)
        else:
            return


def _connect(ray: ModuleType, where: Mapping[str, Any], folder: Path) -> None:
    """Start or join a cluster.

    Raises:
        ConfigError: there is no such cluster.
        IncompleteRunError: our own one does not come up.
    """
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"Ray cluster {where['address']!r} cannot be used: {first_line(error)}"
            ) from error
        except Exception as error:
            # A machine so busy that Ray's own limit of 30 s passes; Ray has no class for it.
            if type(error) is not Exception:
                raise
            ray.shutdown()
            kill_users(folder)
            if attempt == _START_ATTEMPTS:
                raise IncompleteRunError(f"Ray did not start: {first_line(error)}") from error
            _log.warning("Ray did not start in time, another try: %s", first_line(error))
        else:
            return


def worker_options() -> dict[str, Any]:
    """Options of every task and actor: how S3 is used must be known wherever they run."""
    variables = dict(exported_variables())
    return {"runtime_env": {"env_vars": variables}} if variables else {}


def first_line(error: BaseException) -> str:
    """What an error says, without the traceback that Ray puts below."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
