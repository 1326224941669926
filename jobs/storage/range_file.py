"""A stored object as a file to seek in, for readers that want only parts of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from jobs.storage import ObjectInfo, storage_for

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RangeFile(io.RawIOBase):
    """Reads ranges of an object; one thread at a time.

    Args:
        info: the object; its size is taken from here.
    """

    def __init__(self, info: ObjectInfo) -> None:
        super().__init__()
        self._info = info
        self._storage = storage_for(info.uri)
        self._position = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be sought in."""
        return True

    def tell(self) -> int:
        """Say where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; behind the end is allowed, and nothing is read there."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.size_bytes}
        self._position = origin[whence] + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer as far as the object reaches."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), max(self._info.size_bytes - self._position, 0))
        if not length:
            return 0
        data = self._storage.read_range(self._info.uri, self._position, length, self._info.version)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
