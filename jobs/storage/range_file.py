"""A stored object as a seekable file, for readers that need only parts of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from jobs.storage import ObjectInfo, storage_for

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RangeFile(io.RawIOBase):
    """Reads ranges of one version of an object; for one thread at a time."""

    def __init__(self, info: ObjectInfo) -> None:
        super().__init__()
        self._info = info
        self._storage = storage_for(info.uri)
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read; behind the end it reads nothing."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.size_bytes}
        self._position = origin[whence] + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer; at the end of the object, only a part of it."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), max(self._info.size_bytes - self._position, 0))
        if not length:
            return 0
        data = self._storage.read_range(self._info.uri, self._position, length, self._info.version)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
