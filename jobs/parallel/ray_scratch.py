"""A folder for the files of one Ray session; the next session removes what a killed one left."""

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
_LONGEST_PARENT = 32  # a socket's path has at most 107 bytes, and Ray's part takes most


@contextlib.contextmanager
def scratch_folder() -> Generator[Path]:
    """Make a folder with a short path, and remove it at the end.

    Each running session holds a lock on a file in its folder. A folder whose lock is free was left
    by a process that was killed, and is removed.

    Yields:
        The folder.
    """
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_PARENT:
        parent = Path("/tmp")  # noqa: S108 -- mkdtemp makes a private folder in it
    _remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for lock_path in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        # An error: the folder is another user's, or another session is removing it right now.
        with contextlib.suppress(OSError), lock_path.open("r+") as lock:
            if os.fstat(lock.fileno()).st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_path.parent, ignore_errors=True)


def kill_users(folder: Path) -> None:
    """Kill the processes that have this folder in their command line.

    The folder's name is unique, so these are Ray's processes of this session. Without ``/proc``
    none is killed; they end with this process.
    """
    needle = os.fsencode(f"{folder}/")
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            if needle in command_line.read_bytes():
                os.kill(int(command_line.parent.name), signal.SIGKILL)
