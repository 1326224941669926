"""Reads an object once from start to end, in chunks, and hashes it with sha256."""

import hashlib
from collections.abc import Iterator

from fcos_core.errors import StorageError
from jobs.storage import storage_for

CHUNK_BYTES = 1 << 21
"""Long enough that opening the object for each chunk takes little time beside parsing it."""


class HashedChunks:
    """The chunks of one object, to be iterated over once.

    Args:
        uri: of the object.
        chunk_bytes: length of every chunk but the last.
    """

    def __init__(self, uri: str, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._uri = uri
        self._chunk_bytes = chunk_bytes
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the chunks given out so far."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        """Read the chunks.

        Yields:
            The object's bytes in order; nothing for an empty object.

        Raises:
            StorageError: the object cannot be read, or was changed meanwhile.
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
