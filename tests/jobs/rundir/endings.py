"""Processes that read a run and end at once: ``python -m tests.jobs.rundir.endings FOLDER COUNT``.

The last line on stdout counts, as JSON, how they ended, by exit code. The bytes of each file are
watched: whichever thread frees them last, if it is not the one that read, takes until Python ends.
So what goes wrong once in thirty endings on a busy machine goes wrong in every one here.
"""

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa

from jobs.inputs.parquet_images import ParquetImages
from jobs.reporting.results import read_curves
from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard_reading import read_shard
from jobs.storage.base import ANY_VERSION
from jobs.storage.local import LocalStorage
from jobs.storage.range_file import RangeFile

AT_ONCE = 2
ROUNDS = 3
DONE, HELD, FREED_ELSEWHERE = 0, 1, 2
"""Exit codes: nothing wrong; Arrow has bytes of files when Python ends; another thread freed some.

Negative: the signal that killed the process.
"""

_read, _read_range = LocalStorage.read, RangeFile.read
_kept: list[object] = []  # until Python ends, as a command's last reader may be


class Watched(bytes):
    """Bytes of a file that say which of them are in use, and what other threads do with them."""

    num_alive = 0
    reader = 0
    is_freed_elsewhere = threading.Event()

    @classmethod
    def of(cls, data: bytes) -> "Watched":
        cls.num_alive += 1
        cls.reader = threading.get_ident()
        return cls(data)

    def __del__(self) -> None:
        cls = type(self)
        cls.num_alive -= 1
        if threading.get_ident() != cls.reader:
            cls.is_freed_elsewhere.set()
            for _ in range(2000):
                time.sleep(0.001)  # Python ends meanwhile


def read_all(folder: Path) -> Generator[None]:
    """Read every kind of Parquet file that a command reads, one at each step."""
    run = RunDirectory(str(folder / "run"))
    yield _kept.append(read_shard(run, 3))
    yield _kept.append(run.manifest().read_table())
    begun = run.manifest().iterate()
    yield _kept.append((begun, next(begun)))
    yield _kept.append(read_curves(run, None))
    rows, uris = (ParquetImages(info) for info in LocalStorage().list(str(folder / "inputs")))
    yield _kept.append([rows.read(row) for row in range(rows.num_rows)])
    yield _kept.append([*uris.names()])


def end_after_reading(folder: Path) -> int:
    """Read until another thread has freed something, or often; say what the exit code is."""
    LocalStorage.read = lambda self, uri, version=ANY_VERSION, **limit: Watched.of(
        _read(self, uri, version, **limit)
    )
    RangeFile.read = lambda self, size=-1: Watched.of(_read_range(self, size) or b"")
    for _ in range(ROUNDS):
        _kept.clear()
        for _ in read_all(folder):
            if Watched.is_freed_elsewhere.wait(0.001):
                return FREED_ELSEWHERE
    return HELD if Watched.num_alive else DONE


def endings(folder: Path, count: int) -> Counter[int]:
    """Fork processes that read and end, two at a time, and count their exit codes.

    They are forked because that takes a tenth of the time in which Python starts.
    """
    # Import what each process would import by itself; to_numpy() imports pandas where that is.
    assert RunDirectory(str(folder / "run")).exists()
    pa.chunked_array([[0]]).to_numpy()
    codes: Counter[int] = Counter()
    running: set[int] = set()
    started = 0
    while started < count or running:
        while started < count and len(running) < AT_ONCE:
            if (pid := os.fork()) == 0:
                sys.exit(end_after_reading(folder))
            running.add(pid)
            started += 1
        pid, status = os.wait()
        running.discard(pid)
        codes[os.waitstatus_to_exitcode(status)] += 1
    return codes


if __name__ == "__main__":
    sys.stdout.write(json.dumps(endings(Path(sys.argv[1]), int(sys.argv[2]))) + "\n")
