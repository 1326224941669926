"""Ray's settings that have no other place than the environment."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Mapping

_log = logging.getLogger(__name__)

_TOKEN = secrets.token_hex(32)  # one per process: Ray reads it once
_imported_by_us: list[bool] = []

_OWN_CLUSTER = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": _TOKEN,
    # The name is historical: 0 keeps all ports on the loopback address, on Linux too.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Spares one idle process per core: every actor gets a fresh one.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_metrics_collection": "0",
    # Ray's 15 would let anything else on the machine starve a command that somebody waits for.
    "RAY_worker_niceness": "0",
}
_ANY_CLUSTER = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Keeps Ray from hiding GPUs from actors that ask for none, and from warning about it.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def ray_environment(address: str | None) -> Mapping[str, str]:
    """Choose what Ray is to find in the environment; it reads much of it when it is imported.

    Args:
        address: of a cluster to join, which has settings of its own; None for one of ours.
    """
    if address is not None:
        return _ANY_CLUSTER
    if "ray" not in sys.modules:
        _imported_by_us.append(True)
    elif not _imported_by_us:
        _log.warning("ray was imported before fcos: its local ports are open without a token")
        return _ANY_CLUSTER
    return {**_ANY_CLUSTER, **_OWN_CLUSTER}
