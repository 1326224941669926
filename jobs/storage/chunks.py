"""Reads an object once from start to end, in chunks, and hashes it with sha256."""

import hashlib
from collections.abc import Iterator

from fcos_core.errors import StorageError
from jobs.storage import ANY_VERSION, storage_for

CHUNK_BYTES = 1 << 21
"""Long enough that opening the object for each chunk takes little time beside parsing it."""


class HashedChunks:
    """The chunks of one object, to be iterated over once; an empty object has none.

    A ``StorageError`` says that the object cannot be read, or was changed meanwhile.
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
        storage = storage_for(self._uri)
        before = storage.stat(self._uri)
        version = ANY_VERSION if before is None else before.version
        start, is_last = 0, False
        while not is_last:
            chunk = storage.read_range(self._uri, start, self._chunk_bytes, version)
            is_last = len(chunk) < self._chunk_bytes
            start += len(chunk)
            self._hash.update(chunk)
            if chunk:
                yield chunk
        if storage.stat(self._uri) != before:
            raise StorageError(f"{self._uri!r} was changed while it was read")
