"""The bytes of one manifest item, from its file, its archive or its table.

A uri is first taken for a plain file, so a file whose name has a ``#`` is that file. Only where
there is no such file is the uri a member of an archive or a row of a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from fcos_core.errors import DataError, ImageError
from jobs.inputs.parquet_images import read_row
from jobs.inputs.tar_images import read_member
from jobs.rundir.rows import ManifestItem
from jobs.storage import MissingError, ObjectInfo, UnreadableError, Version, is_local, storage_for
from jobs.storage.member_uri import ContainerKind, split_member

MAX_BYTES = 2**30
"""The largest image that is read into memory, encoded."""

_READERS = {"tar": read_member, "parquet": read_row}


def read_item_bytes(item: ManifestItem) -> bytes:
    """Read one image, not decoded; may be called from many threads.

    Raises:
        ImageError: there is no such image, it may not be read, it is larger than ``MAX_BYTES`` or
            another version than the manifest's: the item is to be quarantined.
        StorageError: the storage failed; a retry may help.
    """
    try:
        return _read(item)
    except UnreadableError as error:
        raise ImageError(str(error)) from error
    except DataError as error:
        raise ImageError(f"{item.uri}: {error}") from error


def without_version(item: ManifestItem) -> ManifestItem:
    """Drop what was planned of one version of the object, so that any version may be read."""
    return replace(item, size_bytes=None, mtime_ns=None, etag=None, problem=None)


def has_changed(item: ManifestItem) -> bool:
    """Say whether an item's object, or its archive, is another version than the manifest's.

    Where the storage has version marks they decide, otherwise size and time of the last change.
    """
    file = storage_for(item.uri).stat(item.uri)
    found = file
    for container, _, _ in split_member(item.uri) if found is None else ():
        found = found or storage_for(container).stat(container)
    if found is None:
        return True
    if item.etag is not None and found.etag is not None:
        return item.etag != found.etag
    is_resized = file is not None and file.size_bytes != item.size_bytes
    return is_resized or item.mtime_ns != found.mtime_ns


def source_exists(uri: str) -> bool:
    """Say whether there is a file of this uri, or at least the archive or table that it names."""
    files = (uri, *(found.container for found in split_member(uri)))
    return any(storage_for(file).stat(file) is not None for file in files)


def _read(item: ManifestItem) -> bytes:
    containers = list(_containers(item.uri))
    # Its own etag tells a member of an archive on S3, which spares a request for a plain object.
    is_member = any(info.etag is not None and info.etag == item.etag for info, _, _ in containers)
    if not is_member:
        version = Version(size_bytes=item.size_bytes, mtime_ns=item.mtime_ns, etag=item.etag)
        try:
            return storage_for(item.uri).read(item.uri, version, max_bytes=MAX_BYTES)
        except MissingError:
            if not containers:
                raise
    info, kind, member = containers[0]
    version = Version(mtime_ns=item.mtime_ns, etag=item.etag)
    if info.version.differs(version):
        raise DataError(f"the archive has changed: it was {version}, now it is {info.version}")
    return _READERS[kind](info, member, max_bytes=MAX_BYTES)


def _containers(uri: str) -> Iterator[tuple[ObjectInfo, ContainerKind, str]]:
    # The archives and tables that a uri may name and that exist, with the member or row in each.
    for container, kind, member in split_member(uri):
        info = (storage_for(container).stat if is_local(container) else _stat_once)(container)
        if info is not None:
            yield info, kind, member


@lru_cache(maxsize=64)
def _stat_once(uri: str) -> ObjectInfo | None:
    """Describe an archive; a later change is noticed by its etag when it is read."""
    return storage_for(uri).stat(uri)
