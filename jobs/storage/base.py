"""What a storage can do for us, and what it says about an object.

A *uri* is an absolute local path or ``s3://bucket/key``, never percent-encoded: ``#``, ``%``,
spaces and line ends in it stand for themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

TEMPORARY_PREFIX = ".tmp-"
"""How the names of half-written files begin; a killed attempt leaves them, no reader takes them."""


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One stored object, as its storage lists it.

    Attributes:
        uri: absolute local path or ``s3://bucket/key``.
        size_bytes: length of its content; 0 for a symbolic link that leads nowhere.
        mtime_ns: last change, in nanoseconds since 1970; None where the storage has none.
        etag: the storage's own version mark; None on local disk.
    """

    uri: str
    size_bytes: int
    mtime_ns: int | None
    etag: str | None


class Storage(Protocol):
    """Names, lists, reads and atomically creates objects.

    Every method raises ``StorageError`` when the storage fails now and another try may help, and
    ``ConfigError`` when no try can: a missing permission to write, a file where a folder must be.
    """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List what lies under a folder, at any depth, ordered by the UTF-8 bytes of the uri.

        Args:
            prefix: a folder, or one object, which is then the only entry. ``a/b`` does not reach
                ``a/bc``. Nothing there means no entries.
        """
        ...

    def is_folder(self, uri: str) -> bool:
        """Say whether other objects can lie under this uri."""
        ...

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe one object; None when there is none, a folder included."""
        ...

    def read(self, uri: str) -> bytes:
        """Read an object whole."""
        ...

    def read_range(self, uri: str, start: int, length: int) -> bytes:
        """Read ``length`` bytes from ``start``; fewer where the object ends before that."""
        ...

    def create(self, uri: str, data: bytes) -> bool:
        """Create an object whole unless the name is taken.

        Returns:
            True when we created it; False when it existed and nothing was changed. Either way it
            is durable.
        """
        ...

    def write(self, uri: str, data: bytes) -> None:
        """Put an object in place whole, instead of any older one. Never used for shards."""
        ...

    def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...
