"""One boto3 client per process, made when first needed; a forked process makes its own."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 has no types

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fcos_core.errors import ConfigError, one_line
from jobs.storage.deadlines import bounded
from jobs.storage.s3.access import S3Access, environment_values

RANGE_THREADS = 16
"""Threads for the parts of large objects; like a worker's fetch threads, they mostly wait."""

_POOL_SIZE = 16 + RANGE_THREADS  # a connection for every thread that may ask


@dataclass(frozen=True, eq=False)
class Connection:
    """What a process needs for requests to S3; ``parts`` are threads for parts of large objects.

    ``made_with`` has the values of our environment variables when the client was made, ``extra``
    the parameters of every request but deletions.
    """

    client: Any
    access: S3Access
    made_with: tuple[str | None, ...]
    parts: ThreadPoolExecutor
    extra: Mapping[str, str] = field(default_factory=dict[str, str])


_lock = threading.Lock()
_by_process: dict[int, Connection] = {}


def connection() -> Connection:
    """Return this process's connection, and make it when there is none.

    Raises:
        ConfigError: the environment or AWS's configuration is invalid.
    """
    found = _by_process.get(os.getpid())
    if found is None or found.made_with != environment_values():
        with _lock:
            found = _by_process.get(os.getpid())
            if found is None or found.made_with != environment_values():
                # A parent process's connection cannot be used: its sockets are shared.
                _by_process.clear()
                found = _by_process[os.getpid()] = _connect()
    return found


def disconnect() -> None:
    """Close the connection, so that the next request reads the environment again."""
    with _lock:
        found = _by_process.pop(os.getpid(), None)
    if found is not None:
        found.parts.shutdown(wait=False)
        found.client.close()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 -- a thread of the parent may have held it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def _read_time(value: object) -> datetime:
    """Parse a time as botocore does, but the times of listings without dateutil.

    dateutil takes longer than the rest of a page.
    """
    from botocore.utils import parse_timestamp

    if isinstance(value, str) and value.endswith("Z"):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value)
    return parse_timestamp(value)


def _connect() -> Connection:
    import botocore
    import botocore.session
    from botocore.awsrequest import (
        AWSHTTPConnection,
        AWSHTTPConnectionPool,
        AWSHTTPSConnection,
        AWSHTTPSConnectionPool,
    )
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    made_with, access = environment_values(), S3Access.from_environment()
    ours = {"AWS_RETRY_MODE": ("mode", "adaptive"), "AWS_MAX_ATTEMPTS": ("total_max_attempts", 10)}
    retries = dict(setting for name, setting in ours.items() if name not in os.environ)
    settings: dict[str, Any] = {"signature_version": botocore.UNSIGNED} if access.anonymous else {}
    config = Config(
        retries=retries,
        max_pool_connections=_POOL_SIZE,
        connect_timeout=access.connect_timeout_s,
        read_timeout=access.read_timeout_s,
        tcp_keepalive=True,
        user_agent_extra="fcos-batch",
        **settings,
    )
    plain, encrypted = AWSHTTPConnection, AWSHTTPSConnection
    # A class attribute is what urllib3 offers to change its connections; its type is a protocol. It
    # holds for every client of botocore in this process: credentials are fetched by them, too.
    AWSHTTPConnectionPool.ConnectionCls = bounded(plain, access.response_timeout_s)  # pyright: ignore[reportAttributeAccessIssue]
    AWSHTTPSConnectionPool.ConnectionCls = bounded(encrypted, access.response_timeout_s)  # pyright: ignore[reportAttributeAccessIssue]
    # It warns of odd headers, with a traceback; replies are held to what was asked in any case.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    try:
        session = botocore.session.get_session()
        parsers = session.get_component("response_parser_factory")
        parsers.set_parser_defaults(timestamp_parser=_read_time)
        client = session.create_client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"S3 cannot be set up: {one_line(error)}") from error
    return Connection(
        client=client,
        access=access,
        made_with=made_with,
        parts=ThreadPoolExecutor(RANGE_THREADS, thread_name_prefix="s3-part"),
        extra={"RequestPayer": "requester"} if access.requester_pays else {},
    )
