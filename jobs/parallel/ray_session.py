"""A connection to Ray: to a cluster, or to a private one that ends with the command."""

# pyright: reportUnknownMemberType=false
# Ray has no types

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fcos_core.errors import ConfigError, IncompleteRunError
from jobs.parallel.address_space import require_for_ray
from jobs.parallel.guard import end_done
from jobs.parallel.private_folder import kill_users, private_folder
from jobs.parallel.ray_daemons import few_daemons
from jobs.parallel.ray_environment import ray_environment
from jobs.parallel.ray_watch import raising_ray_lost, watched
from jobs.parallel.signals import environment, kept_signal_handlers, quiet_stdout
from jobs.storage.s3.access import exported_variables
from jobs.waiting import waiting

_log = logging.getLogger(__name__)

_START_ATTEMPTS = 3
_CONNECT_TIMEOUT_S, _CONNECT_PAUSE_S = 5.0, 0.5
_SHUTDOWN_S = 15.0
_OBJECT_STORE_BYTES = 128 * 2**20  # it holds items and receipts, never images


_kept_open: list[contextlib.ExitStack] = []


@contextlib.contextmanager
def ray_kept_open() -> Generator[None]:
    """Let a connection that is made inside the block stay open until the end of the block.

    The end of Ray may take long. What a command has to say, it says before, and on the stdout that
    it had at the beginning of the block.
    """
    if _kept_open:
        yield
        return
    with contextlib.ExitStack() as stack:
        _kept_open.append(stack)
        try:
            yield
        finally:
            _kept_open.clear()


@contextlib.contextmanager
def connected(address: str | None, *, num_cpus: int | None = None) -> Generator[ModuleType]:
    """Connect to a cluster, or start a private one on this machine.

    If this process is connected already, that connection is used and stays open.

    Args:
        address: of the cluster; None starts a private one, which ends with the ``with`` block, or
            with that of ``ray_kept_open``.
        num_cpus: of a private cluster.

    Yields:
        The ``ray`` module, connected.

    Raises:
        RayLostError: a process of the private cluster has died.
    """
    with contextlib.ExitStack() as own:
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            ray = sys.modules["ray"]
        else:
            stack = _kept_open[0] if _kept_open else own
            ray = stack.enter_context(_session(address, num_cpus))
        # Not while it is only kept open: then nobody needs it.
        with watched(_own_processes(ray)), raising_ray_lost():
            yield ray


@contextlib.contextmanager
def _session(address: str | None, num_cpus: int | None) -> Generator[ModuleType]:
    with (
        environment(ray_environment(address)),
        private_folder(for_sockets=True) as folder,
        quiet_stdout(),
    ):
        if address:
            _require_listener(address)
        else:
            require_for_ray()
        import ray  # only now, since it reads the environment

        if address:
            options: dict[str, Any] = {"address": address}
        else:
            options = {
                "address": "local",
                "num_cpus": num_cpus,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                # Ray opens this folder to all users of the machine, not the one around it.
                "_temp_dir": str(folder / "r"),
            }
        try:
            with (
                waiting(lambda: f"joining Ray at {address}" if address else "starting Ray"),
                kept_signal_handlers(),
                _exit_as_interrupt(),
            ):
                _connect(ray, options, folder)
            yield ray
        finally:
            _shut_down(ray, folder)


@contextlib.contextmanager
def _exit_as_interrupt() -> Generator[None]:
    """Take Ray's own answer to SIGTERM, which is in force while it starts, for an interrupt.

    Raises:
        KeyboardInterrupt: Ray exits.
    """
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error


def _own_processes(ray: ModuleType) -> dict[str, Any]:
    """Return the processes without which a private cluster does no work, by their names."""
    # Ray has no public name for them. A process that has joined a cluster has none of its own.
    own: Mapping[str, Any] = getattr(ray._private.worker._global_node, "all_processes", {})  # noqa: SLF001
    return {name: own[name][0].process for name in ("gcs_server", "raylet") if name in own}


def _shut_down(ray: ModuleType, folder: Path) -> None:
    """Shut Ray down, in a thread, since a cluster that does not answer would hold this one."""
    ending = threading.Thread(target=ray.shutdown, name="ray-shutdown", daemon=True)
    ending.start()
    ending.join(_SHUTDOWN_S)
    if ending.is_alive():
        kill_users(folder)
        ending.join(_SHUTDOWN_S)
    if ending.is_alive():
        end_done()


# Ray alone still tries after five minutes.
def _require_listener(address: str) -> None:
    named = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = named.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # Ray looks the name up, or rejects it
    end = time.monotonic() + _CONNECT_TIMEOUT_S
    while True:
        try:
            server = host.strip("[]"), int(port)
            socket.create_connection(server, timeout=_CONNECT_TIMEOUT_S).close()
        except (OSError, OverflowError) as error:
            if time.monotonic() > end or isinstance(error, OverflowError):
                reason = getattr(error, "strerror", None) or error
                raise ConfigError(f"Ray cluster {named!r} cannot be reached: {reason}") from error
            time.sleep(_CONNECT_PAUSE_S)
        else:
            return


def _connect(ray: ModuleType, options: Mapping[str, Any], folder: Path) -> None:
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            with few_daemons(ray):
                ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"Ray cluster {options['address']!r} cannot be used: {first_line(error)}"
            ) from error
        except Exception as error:
            # Ray's limit of 30 s has passed on a busy machine; Ray has no class for that.
            if type(error) is not Exception:
                raise
            _shut_down(ray, folder)
            kill_users(folder)
            if attempt == _START_ATTEMPTS:
                raise IncompleteRunError(f"Ray did not start: {first_line(error)}") from error
            _log.warning("Ray did not start in time, and is started again: %s", first_line(error))
        else:
            return


def worker_options() -> dict[str, Any]:
    """Return the options of every task and actor: they carry the S3 settings to its process."""
    variables = dict(exported_variables())
    return {"runtime_env": {"env_vars": variables}} if variables else {}


def first_line(error: BaseException) -> str:
    """Return an error's message, without the traceback that Ray puts below."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
