"""A folder for one session's files; one that a killed session left goes at the next session."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

_PREFIX = "fcos-ray-"
_LOCK = "lock"
_LONGEST_PARENT = 32  # a socket's path has 107 bytes, and Ray's own part of it takes most of them


@contextlib.contextmanager
def scratch_folder() -> Generator[Path]:
    """Make a folder with a short path, and remove it at the end.

    Each live session holds a lock on a file in its folder; a folder whose lock is free was left by
    a process that was killed, and is removed.

    Yields:
        The folder.
    """
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_PARENT:
        parent = Path("/tmp")  # noqa: S108 -- mkdtemp makes a folder of ours in it
    _remove_left(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent: Path) -> None:
    for lock_path in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        # Another user's, or one that a session beside us is just removing.
        with contextlib.suppress(OSError), lock_path.open("r+") as lock:
            if os.fstat(lock.fileno()).st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_path.parent, ignore_errors=True)


def kill_users(folder: Path) -> None:
    """End the processes that were started with this folder in their command line.

    Its name is unique, so nobody else's are meant; where there is no ``/proc`` they end with us.
    """
    needle = os.fsencode(f"{folder}/")
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended while we looked, or is another user's
            if needle in command_line.read_bytes():
                os.kill(int(command_line.parent.name), signal.SIGKILL)
