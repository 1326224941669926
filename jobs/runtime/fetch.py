"""The bytes of one manifest item, wherever they lie.

A uri is first taken for a plain file, so a file whose name has a ``#`` is that file. Only where
there is none is it ``<archive>.tar#<member>`` or ``<file>.parquet#<row>``. An archive's index is
read once per process.
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache

from fcos_core.errors import DataError, ImageError, StorageError
from jobs.runtime.parquet_pictures import ParquetPictures
from jobs.runtime.tar_index import TarMember, read_tar_index
from jobs.storage import ObjectInfo, storage_for
from jobs.tables.rows import ManifestItem

MAX_BYTES = 2**30
"""The largest picture that is read into memory, encoded."""

_PERMANENT = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}
"""What a second try cannot heal: the item is at fault, not the storage."""

_CONTAINER = re.compile(r"\.(?P<kind>tar|parquet)#", re.IGNORECASE)
_opening = threading.Lock()


def fetch(item: ManifestItem) -> bytes:
    """Read the bytes of one picture; may be called from many threads.

    Args:
        item: what to read.

    Returns:
        The picture's file, not decoded.

    Raises:
        ImageError: there is no such picture, it may not be read, or it is larger than
            ``MAX_BYTES``: the item is to be quarantined.
        StorageError: the storage failed; another try may help.
    """
    with _item_errors(item.uri):
        info = storage_for(item.uri).stat(item.uri)
        if info is not None:
            _check_size(info.size_bytes)
            return storage_for(item.uri).read(item.uri)
        for match in _CONTAINER.finditer(item.uri):
            container = storage_for(item.uri).stat(item.uri[: match.end() - 1])
            if container is not None:
                read = _read_member if match["kind"].lower() == "tar" else _read_row
                return read(container, item.uri[match.end() :])
        raise ImageError("no such file")


def has_changed(item: ManifestItem) -> bool:
    """Say whether an item's object, or the archive it is in, is other than the manifest lists it.

    Where the storage has version marks they decide, otherwise the time of the last change.
    """
    found = storage_for(item.uri).stat(item.uri)
    for match in _CONTAINER.finditer(item.uri) if found is None else ():
        found = found or storage_for(item.uri).stat(item.uri[: match.end() - 1])
    if found is None:
        return True
    if item.etag is not None and found.etag is not None:
        return item.etag != found.etag
    return item.mtime_ns != found.mtime_ns


@contextmanager
def _item_errors(uri: str) -> Generator[None]:
    """Name the item in its errors, and tell its own errors from the storage's.

    Yields:
        Once, to the code that reads.

    Raises:
        ImageError: the item is at fault.
        StorageError: the storage is.
    """
    try:
        yield
    except StorageError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _PERMANENT:
            reason = cause.strerror or str(cause)
            raise ImageError(f"{uri}: cannot be read: {reason}") from error
        raise
    except DataError as error:
        raise ImageError(f"{uri}: {error}") from error


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise ImageError(f"{size_bytes} bytes, limit {MAX_BYTES}")


def _read_member(container: ObjectInfo, name: str) -> bytes:
    with _opening:
        member = _tar_index(container).get(name)
    if member is None:
        raise ImageError(f"the archive has no file {name!r}")
    _check_size(member.size_bytes)
    storage = storage_for(container.uri)
    data = storage.read_range(container.uri, member.start, member.size_bytes)
    if len(data) < member.size_bytes:
        raise ImageError(f"the archive ends after {len(data)} of {member.size_bytes} bytes of it")
    return data


def _read_row(container: ObjectInfo, row: str) -> bytes:
    if not row.isdecimal():
        raise ImageError(f"{row!r} is no row number")
    with _opening:
        pictures = _parquet(container)
    data = pictures.read(int(row))
    _check_size(len(data))
    return data


@lru_cache(maxsize=16)
def _tar_index(container: ObjectInfo) -> dict[str, TarMember]:
    return read_tar_index(container)


@lru_cache(maxsize=2)
def _parquet(container: ObjectInfo) -> ParquetPictures:
    return ParquetPictures(container)
