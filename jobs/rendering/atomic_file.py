"""A file that is written at leisure and then takes its place whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from pathlib import Path
from typing import Self

from fcos_core.errors import ConfigError
from jobs.storage import TEMPORARY_PREFIX, storage_for


class Writing:
    """A file of a ``with`` block, which is gone at its end unless it was kept.

    Args:
        uri: of its place.

    Raises:
        ConfigError: there can be no file.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._is_local = "://" not in uri
        folder = _folder_of(uri)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{uri!r} cannot be written: {error.strerror}") from error
        self.path = folder / f"{_beginning_of(uri)}{uuid.uuid4().hex}.mp4"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Put it in its place, instead of any older one."""
        if self._is_local:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
            self.path.replace(self._uri)
        else:
            storage_for(self._uri).write(self._uri, self.path.read_bytes())


def remove_unfinished(uri: str) -> None:
    """Remove what processes that died while they wrote a file have left of it."""
    for path in _folder_of(uri).glob(f"{_beginning_of(uri)}*"):
        path.unlink(missing_ok=True)


def _folder_of(uri: str) -> Path:
    return Path(tempfile.gettempdir()) if "://" in uri else Path(uri).parent


def _beginning_of(uri: str) -> str:
    """How the names of the files begin that may become a certain one."""
    return f"{TEMPORARY_PREFIX}{hashlib.sha256(os.fsencode(uri)).hexdigest()[:16]}-"
