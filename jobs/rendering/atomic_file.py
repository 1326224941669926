"""A file that is written beside its place and moved there when it is complete."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from pathlib import Path
from typing import Self

from fcos_core.errors import ConfigError
from jobs.storage import TEMPORARY_PREFIX, is_local, local_path, storage_for


class AtomicFile:
    """A temporary file of a ``with`` block: moved to its uri when committed, otherwise removed."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._is_local = is_local(uri)
        folder = _folder_of(uri)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{uri!r} cannot be written: {error.strerror}") from error
        self.path = folder / f"{_prefix_of(uri)}{uuid.uuid4().hex}.mp4"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

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
    for path in _folder_of(uri).glob(f"{_prefix_of(uri)}*"):
        path.unlink(missing_ok=True)


def _folder_of(uri: str) -> Path:
    return Path(local_path(uri)).parent if is_local(uri) else Path(tempfile.gettempdir())


def _prefix_of(uri: str) -> str:
    return f"{TEMPORARY_PREFIX}{hashlib.sha256(os.fsencode(uri)).hexdigest()[:16]}-"
