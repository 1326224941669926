"""``fcos`` as a process without Ray, which kills itself at a moment, or waits for another there.

``python -m tests.jobs.dispatch.driver_here MOMENT WORDS...``, where ``MOMENT`` is one of

=================  ================================================================================
never              it runs to its end
before:NAME        before the file ``manifest/NAME`` is created
after:NAME         after that
shard:N            after the N-th shard that it has committed
meet:NAME:FOLDER   before ``manifest/NAME`` it waits until two such processes are there
=================  ================================================================================
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import jobs.detect as detect_module
import jobs.rundir.manifest.writing as writing_module
from jobs.cli.commands import main
from jobs.rundir.events import EventLog
from jobs.rundir.shard import Receipt
from jobs.storage import storage_for
from tests.jobs.dispatch.here import dispatch_here
from tests.processes import wait_until


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A storage whose ``create`` is a moment."""

    def __init__(self, uri: str, moment: str, name: str, folder: str) -> None:
        self._storage = storage_for(uri)
        self._moment, self._name, self._folder = moment, name, Path(folder)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def create(self, uri: str, data: bytes) -> bool:
        is_it = uri.rsplit("/", 1)[-1].startswith(self._name)
        if is_it and self._moment == "before":
            die()
        if is_it and self._moment == "meet":
            (self._folder / str(os.getpid())).touch()
            wait_until(lambda: len(list(self._folder.iterdir())) >= 2, timeout_s=120)
        created = self._storage.create(uri, data)
        if is_it and self._moment == "after":
            die()
        return created


def die_after(count: int) -> None:
    """Kill this process once it has committed so many shards."""
    committed: list[int] = []
    write = EventLog.shard

    def shard(self: EventLog, receipt: Receipt) -> None:
        write(self, receipt)
        committed.append(receipt.shard)
        if len(committed) == count:
            die()

    EventLog.shard = shard


def run() -> int:
    detect_module.dispatch = dispatch_here
    moment, name, folder = [*sys.argv[1].split(":", 2), "", ""][:3]
    if moment == "shard":
        die_after(int(name))
    elif moment != "never":
        writing_module.storage_for = lambda uri: Watched(uri, moment, name, folder)
    return main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(run())
