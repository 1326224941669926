"""The bytes of one manifest item, wherever they lie.

A uri is first taken for a plain file, so a file whose name has a ``#`` is that file. Only where
there is none is it ``<archive>.tar#<member>`` or ``<file>.parquet#<row>``. An archive's index is
read once per process.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from fcos_core.errors import DataError, ImageError
from jobs.inputs.parquet_images import ParquetImages
from jobs.inputs.tar_index import TarMember, read_tar_index
from jobs.rundir.rows import ManifestItem
from jobs.storage import MissingError, ObjectInfo, UnreadableError, Version, storage_for

MAX_BYTES = 2**30
"""The largest image that is read into memory, encoded."""

_CONTAINER = re.compile(r"\.(?P<kind>tar|parquet)#", re.IGNORECASE)
_opening = threading.Lock()


def fetch(item: ManifestItem) -> bytes:
    """Read the bytes of one image; may be called from many threads.

    Args:
        item: what to read.

    Returns:
        The image's file, not decoded.

    Raises:
        ImageError: there is no such image, it may not be read, or it is larger than
            ``MAX_BYTES``: the item is to be quarantined.
        StorageError: the storage failed; another try may help.
    """
    try:
        return _read(item)
    except UnreadableError as error:
        raise ImageError(str(error)) from error
    except DataError as error:
        raise ImageError(f"{item.uri}: {error}") from error


def as_it_is(item: ManifestItem) -> ManifestItem:
    """Drop what would hold an item to the version that was planned."""
    return replace(item, size_bytes=None, mtime_ns=None, etag=None)


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


def _read(item: ManifestItem) -> bytes:
    containers = list(_containers(item.uri))
    # Its own etag tells a member of an archive on S3, which spares a request for a plain object.
    is_member = any(
        container.etag is not None and container.etag == item.etag for container, _ in containers
    )
    if not is_member:
        version = Version(size_bytes=item.size_bytes, mtime_ns=item.mtime_ns, etag=item.etag)
        try:
            return storage_for(item.uri).read(item.uri, version, max_bytes=MAX_BYTES)
        except MissingError:
            if not containers:
                raise
    container, name = containers[0]
    version = Version(mtime_ns=item.mtime_ns, etag=item.etag)
    if container.version.differs(version):
        raise DataError(f"the archive has changed: it was {version}, now it is {container.version}")
    read = _read_member if container.uri.lower().endswith(".tar") else _read_row
    return read(container, name)


def _containers(uri: str) -> Iterator[tuple[ObjectInfo, str]]:
    """Find the archives that a uri may speak of, and the name or number of what is in them.

    Yields:
        Those that exist.
    """
    for match in _CONTAINER.finditer(uri):
        archive = uri[: match.end() - 1]
        info = _stat_once(archive) if "://" in archive else storage_for(archive).stat(archive)
        if info is not None:
            yield info, uri[match.end() :]


@lru_cache(maxsize=64)
def _stat_once(uri: str) -> ObjectInfo | None:
    """Describe an archive; a later change is noticed by its etag when it is read."""
    return storage_for(uri).stat(uri)


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise ImageError(f"{size_bytes} bytes, limit {MAX_BYTES}")


def _read_member(container: ObjectInfo, name: str) -> bytes:
    with _opening:
        member = _tar_index(container).get(name)
    if member is None:
        raise ImageError(f"the archive has no file {name!r}")
    _check_size(member.size_bytes)
    data = storage_for(container.uri).read_range(
        container.uri, member.start, member.size_bytes, container.version
    )
    if len(data) < member.size_bytes:
        raise ImageError(f"the archive ends after {len(data)} of {member.size_bytes} bytes of it")
    return data


def _read_row(container: ObjectInfo, row: str) -> bytes:
    if not row.isdecimal():
        raise ImageError(f"{row!r} is no row number")
    with _opening:
        images = _parquet(container)
    data = images.read(int(row))
    _check_size(len(data))
    return data


@lru_cache(maxsize=16)
def _tar_index(container: ObjectInfo) -> dict[str, TarMember]:
    return read_tar_index(container)


@lru_cache(maxsize=2)
def _parquet(container: ObjectInfo) -> ParquetImages:
    return ParquetImages(container)
