"""The events of a command with their times, for people who look into a run; never compared."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fcos_core.errors import ConfigError, StorageError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard import Receipt
from jobs.storage import storage_for

_log = logging.getLogger(__name__)

PART_S = 60.0
"""A part is written so often, so that a driver that is killed has told all but the last."""

_PART_EVENTS = 5_000
_PART_NAME = re.compile(r"(?P<command>.+-[0-9a-f]{6})-\d{6}\.jsonl")


def command_of(name: str) -> str:
    """Name the command that wrote a file of events; the files of one differ in a number."""
    match = _PART_NAME.fullmatch(name)
    return name if match is None else match["command"]


class EventLog:
    """Collects the events of one command, and writes them to ``events/`` in parts.

    The keyword arguments are further fields of the first line. Parts are written in a thread, so
    that slow storage does not keep shards from being handed out.
    """

    def __init__(self, directory: RunDirectory, **about: object) -> None:
        self._directory = directory
        self._events: list[dict[str, Any]] = []
        # Names sort by time; the random end keeps two drivers of the same second apart.
        self._name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
        self._num_parts = 0
        self._written_at = time.monotonic()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._writing: Future[None] | None = None
        self._note("begin", **about)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._note("end", error=None if kind is None else kind.__name__)
        self._write_part()
        self._writer.shutdown()

    def shard(self, receipt: Receipt) -> None:
        self._note("shard", **asdict(receipt))
        is_busy = self._writing is not None and not self._writing.done()
        is_due = time.monotonic() - self._written_at > PART_S or len(self._events) >= _PART_EVENTS
        if is_due and not is_busy:
            self._write_part()

    def _note(self, event: str, **fields: object) -> None:
        self._events.append({"time": datetime.now(UTC).isoformat(), "event": event, **fields})

    def _write_part(self) -> None:
        events, self._events = self._events, []
        uri = self._directory.event_uri(f"{self._name}-{self._num_parts:06d}.jsonl")
        self._num_parts += 1
        self._written_at = time.monotonic()
        self._writing = self._writer.submit(_write, uri, events)


def _write(uri: str, events: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(event) + "\n" for event in events)
    try:
        storage_for(uri).write(uri, lines.encode())
    except (ConfigError, StorageError) as error:
        _log.warning("the events of this command could not be written: %s", error)
