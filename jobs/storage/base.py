"""The interface of a storage, its descriptions of objects, and the errors about one object.

A *uri* is an absolute local path or ``s3://bucket/key``, never percent-encoded: ``#``, ``%``,
spaces and line ends in it stand for themselves. Only a local path that is no UTF-8 is a
``file://`` uri, which is percent-encoded (``jobs.storage.local_uri``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fcos_core.errors import StorageError

TEMPORARY_PREFIX = ".tmp-"
"""Prefix of unfinished files' names; a killed process leaves such files, readers ignore them."""


class UnreadableError(StorageError):
    """This object cannot be read and a retry does not help: missing, forbidden, too large, changed.

    The storage itself works. An image with this error is quarantined.
    """


class MissingError(UnreadableError):
    """There is no such object, or cannot be one of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The version of an object, to notice changes; a field that is None is not compared.

    Attributes:
        size_bytes: length of its content.
        mtime_ns: last change, in nanoseconds since 1970; None where the storage has none.
        etag: the storage's own version mark; None on local disk.
    """

    size_bytes: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None

    def differs(self, other: "Version") -> bool:
        """Say whether two versions of an object surely differ."""
        pairs = (
            (self.size_bytes, other.size_bytes),
            (self.mtime_ns, other.mtime_ns),
            (self.etag, other.etag),
        )
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def __str__(self) -> str:
        """Spell the known fields for a message."""
        size = None if self.size_bytes is None else f"{self.size_bytes} bytes"
        mtime = None if self.mtime_ns is None else f"mtime {self.mtime_ns} ns"
        etag = None if self.etag is None else f"etag {self.etag}"
        return ", ".join(part for part in (size, mtime, etag) if part) or "unknown"


ANY_VERSION = Version()
"""Equals every version."""


def changed_message(uri: str, expected: Version, found: Version) -> str:
    """Spell the message for an object that is another version than expected."""
    return f"{uri!r} has changed: it was {expected}, now it is {found}"


def check_version(uri: str, expected: Version, found: Version) -> None:
    """Refuse an object that is another version than expected.

    Raises:
        UnreadableError: the two differ.
    """
    if found.differs(expected):
        raise UnreadableError(changed_message(uri, expected, found))


def check_size(uri: str, size_bytes: int, max_bytes: int | None) -> None:
    """Refuse an object that is larger than a reader allows; None allows every size.

    Raises:
        UnreadableError: it is larger.
    """
    if max_bytes is not None and size_bytes > max_bytes:
        raise UnreadableError(f"{uri!r} has {size_bytes} bytes, limit {max_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """Description of one stored object; the size of a symbolic link that leads nowhere is 0.

    ``mtime_ns`` and ``etag`` are as in ``Version``.
    """

    uri: str
    size_bytes: int
    mtime_ns: int | None
    etag: str | None

    @property
    def version(self) -> Version:
        """The object's version, to notice changes."""
        return Version(size_bytes=self.size_bytes, mtime_ns=self.mtime_ns, etag=self.etag)


class Storage(Protocol):
    """Lists, reads and atomically creates objects; may be used from many threads.

    Every method retries where that may help, a bounded number of times; callers need not retry. It
    raises ``StorageError`` when the storage still fails, ``UnreadableError`` when only this object
    cannot be read, and ``ConfigError`` when the user must act: no permission to write, a file where
    a folder must be, credentials that are refused.
    """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List the objects in a folder, at any depth, in a stable order.

        The order is that of the UTF-8 bytes of the uris, if an S3 server lists in that order.

        Args:
            prefix: a folder, or one object, which is then the only entry. ``a/b`` does not include
                ``a/bc``. A folder that does not exist has no entries.
        """
        ...

    def glob(self, pattern: str) -> Iterator[ObjectInfo]:
        """List the objects that match a pattern with ``*``, ``?``, ``[...]`` or ``**``.

        ``*`` matches no ``/``; ``**`` matches any number of folders, and at the end anything but
        hidden names. The order is stable.
        """
        ...

    def is_folder(self, uri: str) -> bool:
        """Say whether other objects can lie under this uri."""
        ...

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe one object; None when there is no object, or a folder, of this name."""
        ...

    def read(
        self, uri: str, version: Version = ANY_VERSION, *, max_bytes: int | None = None
    ) -> bytes:
        """Read a whole object of this version and of at most ``max_bytes``; None is no limit.

        Neither this nor ``read_range`` ever gives parts of two versions.
        """
        ...

    def read_range(
        self, uri: str, start: int, length: int, version: Version = ANY_VERSION
    ) -> bytes:
        """Read ``length`` bytes from ``start``; fewer where the object ends before that."""
        ...

    def create(self, uri: str, data: bytes) -> bool:
        """Create a whole object, unless the name is taken.

        Returns:
            True when this call created it; False when it existed and was not changed. In both
            cases the object is durable.
        """
        ...

    def check_create(self, folder: str) -> None:
        """Make sure that ``create`` in this folder never replaces an object."""
        ...

    def write(self, uri: str, data: bytes) -> None:
        """Write a whole object, and replace an older one. Never used for shards."""
        ...

    def delete(self, uri: str) -> None:
        """Remove an object, if it exists."""
        ...
