"""Private folders for temporary files; the next one made removes what a killed process left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

_PREFIX = "fcos-tmp-"
_LOCK = "lock"
# A socket's path has at most 107 bytes. Ray's part, with a name of one byte for its own folder, has
# 66: "/r/session_2026-11-30_10-55-24_562180_1234567/sockets/plasma_store".
_LONGEST_PARENT = 107 - 66 - len("/fcos-tmp-12345678")


@contextlib.contextmanager
def private_folder(*, for_sockets: bool = False) -> Generator[Path]:
    """Make a folder into which only this user gets, and remove it at the end.

    Each folder that is in use has a locked file. One whose lock is free was left by a process that
    was killed, and is removed.

    Args:
        for_sockets: the path is short enough for Ray's sockets, if need be in ``/tmp``.

    Yields:
        The folder, with mode 0700. What others open to everyone inside it stays closed.
    """
    parent = Path(tempfile.gettempdir())
    if for_sockets and len(os.fsencode(parent)) > _LONGEST_PARENT:
        parent = Path("/tmp")  # noqa: S108 -- mkdtemp makes a private folder in it
    _remove_abandoned(parent)
    folder, lock = _make_locked(parent)
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned_folders() -> None:
    """Remove the folders that killed processes of this user have left."""
    _remove_abandoned(Path(tempfile.gettempdir()))


def _make_locked(parent: Path) -> tuple[Path, BinaryIO]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            lock = (folder / _LOCK).open("xb")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except FileNotFoundError:
            continue
        if os.fstat(lock.fileno()).st_nlink:
            return folder, lock
        lock.close()  # another process took it for abandoned before it was locked


def _remove_abandoned(parent: Path) -> None:
    for lock_path in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        # An error: the folder is another user's, or another process is removing it right now.
        with contextlib.suppress(OSError):
            if lock_path.parent.lstat().st_uid == os.getuid():
                _remove_unless_locked(lock_path)


def _remove_unless_locked(lock_path: Path) -> None:
    lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock_path.parent, ignore_errors=True)
    finally:
        os.close(lock)


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
