"""A file that is written beside its place and moved there when it is complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from pathlib import Path
from typing import Self

from fcos_core.errors import ConfigError
from jobs.parallel.private_folder import private_folder, remove_abandoned_folders
from jobs.storage import TEMPORARY_PREFIX, is_local, local_path, storage_for


class AtomicFile:
    """A temporary file of a ``with`` block: moved to its uri when committed, otherwise removed.

    What goes to S3 is written in a folder that no other user of this machine can enter.

    Attributes:
        path: the temporary file, inside the block.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._is_local = is_local(uri)
        self._stack = contextlib.ExitStack()
        self.path = Path()

    def __enter__(self) -> Self:
        self.path = self._folder() / f"{_prefix_of(self._uri)}{uuid.uuid4().hex}.mp4"
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)
        self._stack.close()

    def _folder(self) -> Path:
        if not self._is_local:
            return self._stack.enter_context(private_folder())
        folder = Path(local_path(self._uri)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self._uri!r} cannot be written: {error.strerror}") from error
        return folder

    def commit(self) -> None:
        """Put the file in its place; an older file there is replaced."""
        if self._is_local:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
            self.path.replace(local_path(self._uri))
        else:
            storage_for(self._uri).write(self._uri, self.path.read_bytes())


def remove_unfinished(uri: str) -> None:
    """Remove the temporary files of processes that died while they wrote the file of a uri."""
    if not is_local(uri):
        remove_abandoned_folders()
        return
    for path in Path(local_path(uri)).parent.glob(f"{_prefix_of(uri)}*"):
        path.unlink(missing_ok=True)


def _prefix_of(uri: str) -> str:
    return f"{TEMPORARY_PREFIX}{hashlib.sha256(os.fsencode(uri)).hexdigest()[:16]}-"
