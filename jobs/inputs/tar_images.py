"""A tar archive of images, as WebDataset writes them: its members as items, and their bytes.

The headers are read once per process, so that a member is read without those before it.
"""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from fcos_core.errors import DataError, ImageError
from jobs.inputs.item import InputItem
from jobs.media.extensions import is_image_name
from jobs.storage import ObjectInfo, storage_for
from jobs.storage.base import one_line
from jobs.storage.member_uri import member_uri
from jobs.storage.range_file import RangeFile

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_indexing = threading.Lock()


class TarMember(NamedTuple):
    """A plain file in an archive: offset and length of its content."""

    start: int
    size_bytes: int


def read_tar_index(info: ObjectInfo) -> dict[str, TarMember]:
    """Read the headers of an archive and skip the contents.

    Returns:
        Plain files by name, in the archive's order. Of two files with one name the later counts,
        as when an archive is unpacked. Links, folders and sparse files are left out.

    Raises:
        DataError: the file is no tar archive, is compressed, or ends inside a member.
    """
    index: dict[str, TarMember] = {}
    try:
        with tarfile.open(fileobj=io.BufferedReader(RangeFile(info)), mode="r:") as archive:
            for member in archive:
                if member.isreg() and not member.issparse():
                    index[member.name] = TarMember(member.offset_data, member.size)
    except (tarfile.TarError, OverflowError, ValueError) as error:
        reason = f"{_compression(info)}{one_line(error)}"
        raise DataError(f"{info.uri}: no readable tar archive: {reason}") from error
    return index


def enumerate_members(info: ObjectInfo) -> Iterator[InputItem | None]:
    """List the images of an archive, without hidden files.

    Yields:
        Items in the archive's order; None for each member that is not named like an image.

    Raises:
        DataError: the archive cannot be read.
    """
    for name, member in read_tar_index(info).items():
        if "/." in f"/{name.removeprefix('./')}":
            continue
        if not is_image_name(name):
            yield None
            continue
        yield InputItem(
            uri=member_uri(info.uri, name),
            size_bytes=member.size_bytes,
            mtime_ns=info.mtime_ns,
            etag=info.etag,
        )


def read_member(info: ObjectInfo, name: str, *, max_bytes: int) -> bytes:
    """Read one member; may be called from many threads.

    Raises:
        DataError: the archive cannot be read, has no such file, or ends inside the member.
        ImageError: the member is larger than ``max_bytes``.
    """
    with _indexing:
        member = _tar_index(info).get(name)
    if member is None:
        raise ImageError(f"the archive has no file {name!r}")
    if member.size_bytes > max_bytes:
        raise ImageError(f"{member.size_bytes} bytes, limit {max_bytes}")
    data = storage_for(info.uri).read_range(info.uri, member.start, member.size_bytes, info.version)
    if len(data) < member.size_bytes:
        raise ImageError(
            f"the archive ends after {len(data)} of {member.size_bytes} bytes of this file"
        )
    return data


@lru_cache(maxsize=16)
def _tar_index(info: ObjectInfo) -> dict[str, TarMember]:
    return read_tar_index(info)


def _compression(info: ObjectInfo) -> str:
    start = RangeFile(info).read(8) or b""
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            return f"it is compressed with {name}, unpack it first: "
    return ""
