"""What a storage can do for us, and what it says about an object.

A *uri* is an absolute local path or ``s3://bucket/key``, never percent-encoded: ``#``, ``%``,
spaces and line ends in it stand for themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fcos_core.errors import StorageError

TEMPORARY_PREFIX = ".tmp-"
"""How the names of half-written files begin; a killed attempt leaves them, no reader takes them."""


class UnreadableError(StorageError):
    """This object cannot be read, and no other try helps: missing, forbidden, too large, changed.

    The storage itself works. An image of which this is said is quarantined.
    """


class MissingError(UnreadableError):
    """There is no such object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """By what a storage tells whether an object is still the same; None is not compared.

    Attributes:
        size_bytes: length of its content.
        mtime_ns: last change, in nanoseconds since 1970; None where the storage has none.
        etag: the storage's own version mark; None on local disk.
    """

    size_bytes: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None

    def differs(self, other: "Version") -> bool:
        """Say whether the two cannot be the same object's content."""
        pairs = (
            (self.size_bytes, other.size_bytes),
            (self.mtime_ns, other.mtime_ns),
            (self.etag, other.etag),
        )
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def __str__(self) -> str:
        """Say it in a message."""
        size = None if self.size_bytes is None else f"{self.size_bytes} bytes"
        mtime = None if self.mtime_ns is None else f"mtime {self.mtime_ns} ns"
        etag = None if self.etag is None else f"etag {self.etag}"
        return ", ".join(part for part in (size, mtime, etag) if part) or "unknown"


ANY_VERSION = Version()
"""Whatever is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
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

    @property
    def version(self) -> Version:
        """By what a change would be noticed."""
        return Version(size_bytes=self.size_bytes, mtime_ns=self.mtime_ns, etag=self.etag)


class Storage(Protocol):
    """Names, lists, reads and atomically creates objects; may be used from many threads.

    Every method tries again what another try may heal, a bounded number of times: nobody above
    does. It raises ``StorageError`` when the storage still fails, ``UnreadableError`` when this one
    object is at fault, and ``ConfigError`` when nothing can be done here at all: no permission to
    write, a file where a folder must be, credentials that are refused.
    """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List what lies under a folder, at any depth, in a stable order.

        The order is that of the UTF-8 bytes of the uri, as far as an S3 server keeps to it.

        Args:
            prefix: a folder, or one object, which is then the only entry. ``a/b`` does not reach
                ``a/bc``. Nothing there means no entries.
        """
        ...

    def matching(self, pattern: str) -> Iterator[ObjectInfo]:
        """List what a pattern of ``*``, ``?``, ``[...]`` and ``**`` stands for, in a stable order.

        ``*`` does not reach beyond a ``/``; ``**`` stands for any number of folders, at the end for
        anything. Where it does, what is hidden is left out.
        """
        ...

    def is_folder(self, uri: str) -> bool:
        """Say whether other objects can lie under this uri."""
        ...

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe one object; None when there is none, a folder included."""
        ...

    def read(
        self, uri: str, version: Version = ANY_VERSION, *, max_bytes: int | None = None
    ) -> bytes:
        """Read an object whole.

        Args:
            uri: which.
            version: what it must be; an object that is another by now is not read.
            max_bytes: a larger one is not read either.
        """
        ...

    def read_range(
        self, uri: str, start: int, length: int, version: Version = ANY_VERSION
    ) -> bytes:
        """Read ``length`` bytes from ``start``; fewer where the object ends before that."""
        ...

    def create(self, uri: str, data: bytes) -> bool:
        """Create an object whole unless the name is taken.

        Returns:
            True when we created it; False when it existed and nothing was changed. Either way it
            is durable.
        """
        ...

    def check_create(self, folder: str) -> None:
        """Make sure that ``create`` in this folder really never replaces anything."""
        ...

    def write(self, uri: str, data: bytes) -> None:
        """Put an object in place whole, instead of any older one. Never used for shards."""
        ...

    def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...
