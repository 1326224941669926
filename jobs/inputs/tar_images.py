"""A tar archive of images, as WebDataset writes them: its members as items, and their bytes.

The headers are read once per process, so that a member is read without those before it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import lru_cache

from fcos_core.errors import ImageError
from jobs.inputs.item import InputItem
from jobs.inputs.tar_index import LostMember, TarIndex, read_tar_index
from jobs.media.extensions import is_image_name
from jobs.storage import ObjectInfo, storage_for
from jobs.storage.member_uri import member_uri
from jobs.storage.patterns import is_hidden

_log = logging.getLogger(__name__)

_indexing = threading.Lock()


def enumerate_members(info: ObjectInfo) -> Iterator[InputItem | None]:
    """List the images of an archive, without hidden files.

    Yields:
        Items in the archive's order; None for each member that is not named like an image, has no
        content, or is superseded by a later one of its name, and for what lies behind the archive.

    Raises:
        DataError: the archive cannot be read.
    """
    index = read_tar_index(info)
    for name, member in index.members.items():
        if is_hidden(name):
            continue
        if isinstance(member, LostMember) or not is_image_name(name):
            yield None
            continue
        yield InputItem(
            uri=member_uri(info.uri, name),
            size_bytes=member.size_bytes,
            mtime_ns=info.mtime_ns,
            etag=info.etag,
        )
    yield from (None for name in index.superseded if not is_hidden(name))
    if index.trailing is not None:
        reason = "behind the archive's end is something that is no archive; it is skipped"
        _log.warning("%s: byte %d: %s", info.uri, index.trailing, reason)
        yield None


def read_member(info: ObjectInfo, name: str, *, max_bytes: int) -> bytes:
    """Read one member; may be called from many threads.

    Raises:
        DataError: the archive cannot be read, has no such file, or ends inside the member.
        ImageError: the member is larger than ``max_bytes``, or leads to no file.
    """
    with _indexing:
        member = _tar_index(info).members.get(name)
    if member is None:
        raise ImageError(f"the archive has no file {name!r}")
    if isinstance(member, LostMember):
        raise ImageError(f"{name!r} {member.reason}")
    if member.size_bytes > max_bytes:
        raise ImageError(f"{member.size_bytes} bytes, limit {max_bytes}")
    length = member.stored_bytes
    stored = storage_for(info.uri).read_range(info.uri, member.start, length, info.version)
    if len(stored) < length:
        raise ImageError(f"the archive ends after {len(stored)} of {length} bytes of this file")
    return member.expand(stored)


@lru_cache(maxsize=16)
def _tar_index(info: ObjectInfo) -> TarIndex:
    return read_tar_index(info)
