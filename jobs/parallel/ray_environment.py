"""Settings of Ray that can only be made by environment variables."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Mapping

_log = logging.getLogger(__name__)

_TOKEN = secrets.token_hex(32)  # one per process: Ray reads it once
_is_imported_here: list[bool] = []

_OWN_CLUSTER = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": _TOKEN,
    # Despite its name it acts on Linux too: 0 keeps all ports on the loopback address.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Starts no idle process per core: every actor gets a new process anyway.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_metrics_collection": "0",
    # With Ray's 15, other programs could starve a command for whose end a user waits.
    "RAY_worker_niceness": "0",
}
_ANY_CLUSTER = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Keeps Ray from hiding GPUs from actors that ask for none, and from warning about it.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def ray_environment(address: str | None) -> Mapping[str, str]:
    """Choose the environment variables of Ray, which reads many of them when it is imported.

    A cluster to join, at ``address``, has its own settings.
    """
    if address is not None:
        return _ANY_CLUSTER
    if "ray" not in sys.modules:
        _is_imported_here.append(True)
    elif not _is_imported_here:
        _log.warning("ray was imported before fcos: its local ports need no token")
        return _ANY_CLUSTER
    return {**_ANY_CLUSTER, **_OWN_CLUSTER}
