"""An object read once from its start to its end, in pieces, with the sha256 of what was read."""

import hashlib
from collections.abc import Iterator

from fcos_core.errors import StorageError
from jobs.storage import storage_for

CHUNK_BYTES = 1 << 21
"""Long enough that opening the object for each piece costs nothing beside parsing it."""


class HashedChunks:
    """The pieces of one object, to be iterated over once.

    Args:
        uri: the object.
        chunk_bytes: length of every piece but the last.
    """

    def __init__(self, uri: str, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._uri = uri
        self._chunk_bytes = chunk_bytes
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the pieces given out so far."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        """Give out the pieces.

        Yields:
            The object's bytes in order; nothing for an empty one.

        Raises:
            StorageError: it cannot be read, or was changed meanwhile.
        """
        storage = storage_for(self._uri)
        before = storage.stat(self._uri)
        start, is_last = 0, False
        while not is_last:
            chunk = storage.read_range(self._uri, start, self._chunk_bytes)
            is_last = len(chunk) < self._chunk_bytes
            start += len(chunk)
            self._hash.update(chunk)
            if chunk:
                yield chunk
        if storage.stat(self._uri) != before:
            raise StorageError(f"{self._uri!r} was changed while it was read")
