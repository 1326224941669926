"""A folder for one session's files; one that a killed session left goes at the next session."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
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
