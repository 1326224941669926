"""The events of a command with their times, for people who look into a run; never compared."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fcos_core.errors import ConfigError, StorageError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard import Receipt
from jobs.storage import storage_for

_log = logging.getLogger(__name__)


class EventLog:
    """Collects the events of one command, and writes them to ``events/`` when it ends.

    The keyword arguments are further fields of the first line.
    """

    def __init__(self, directory: RunDirectory, **about: object) -> None:
        self._directory = directory
        self._events: list[dict[str, Any]] = []
        self._note("begin", **about)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._note("end", error=None if kind is None else kind.__name__)
        lines = "".join(json.dumps(event) + "\n" for event in self._events)
        # Names sort by time; the random end keeps two drivers of the same second apart.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}.jsonl"
        uri = self._directory.event_uri(name)
        try:
            storage_for(uri).write(uri, lines.encode())
        except (ConfigError, StorageError) as error:
            _log.warning("the events of this command could not be written: %s", error)

    def shard(self, receipt: Receipt) -> None:
        self._note("shard", **asdict(receipt))

    def _note(self, event: str, **fields: object) -> None:
        self._events.append({"time": datetime.now(UTC).isoformat(), "event": event, **fields})
