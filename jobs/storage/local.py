"""Local disk: atomic creation by a hard link, which fails when the name is taken."""

import contextlib
import ctypes
import errno
import glob
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from fcos_core.errors import ConfigError, StorageError
from jobs.storage.base import (
    ANY_VERSION,
    TEMPORARY_PREFIX,
    MissingError,
    ObjectInfo,
    UnreadableError,
    Version,
    check_size,
    check_version,
)
from jobs.storage.local_uri import local_path, local_uri
from jobs.storage.patterns import ANY_DEPTH, is_hidden, matches_pattern
from jobs.storage.retrying import RetryPolicy

_PERMANENT = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}
"""Errors of a write that a retry cannot mend."""

_MISSING = {
    *(errno.ENOENT, errno.ENOTDIR),
    errno.ELOOP,  # a link that leads in a circle
    *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),  # a name that this file system cannot have
    errno.EISDIR,
}
"""Errors of a read where there is no such file."""

_NO_DEVICE = {errno.ENXIO, errno.ENODEV}
"""Errors of opening a socket or a device; of a regular file, of the disk that it lies on."""

_UNREADABLE = {errno.EACCES, errno.EPERM}
"""Errors of a read that come from this file and not from the disk."""

_READS = 5
_FIRST_PAUSE_S = 0.01  # before a file that changed meanwhile is read again; 0.4 s in all
_TICK_NS = 10_000_000
"""The longest tick of a system's clock: two changes of a file in one tick give it one time."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}
"""Errors of file systems without hard links: FAT, exFAT, many on FUSE."""

_NO_EXCLUSIVE_RENAME = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


class LocalStorage:
    """Files of this machine, or of a file system that all machines of a cluster mount alike.

    Errors are retried, as a network file system may fail for a while.
    """

    def __init__(self) -> None:
        self._retry = RetryPolicy()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List files at any depth, one folder in memory at a time; see ``Storage.list``.

        Links are followed, except to a folder above. A link that leads nowhere is listed with
        size 0; reading it gives an error that names it.

        Yields:
            Each file, ordered by the bytes of its path.
        """
        if self.is_folder(prefix):
            yield from _list_folder(local_path(prefix).rstrip("/") or "/", ())
        else:
            info = self.stat(prefix)
            if info is not None:
                yield info

    def glob(self, pattern: str) -> Iterator[ObjectInfo]:
        """List the files that match a pattern; see ``Storage.glob``.

        Yields:
            Each file, ordered by its path, or by the folder that matches the part before ``**``.
        """
        parts = local_path(pattern).split("/")
        depth = parts.index(ANY_DEPTH) if ANY_DEPTH in parts else len(parts)
        before, after = "/".join(parts[:depth]) or "/", tuple(parts[depth:])
        found = glob.glob(before) if glob.has_magic(before) else [before]  # noqa: PTH207 -- a str each
        for root in sorted(found, key=os.fsencode):
            if not after:
                info = self.stat(root)
                if info is not None:
                    yield info
                continue
            # Unlike glob's **, our own listing does not follow links in a circle.
            start = len(root.rstrip("/"))
            for info in self.list(root):
                below = local_path(info.uri)[start + 1 :]
                if not is_hidden(below) and matches_pattern(below.split("/"), after):
                    yield info

    def is_folder(self, uri: str) -> bool:
        """Say whether the path is a folder."""
        status = self._retry.run(lambda: _status(local_path(uri)))
        return status is not None and stat.S_ISDIR(status.st_mode)

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe a file; None for a folder, a device and a missing file."""
        return self._retry.run(lambda: _describe(local_path(uri)))

    def read(
        self, uri: str, version: Version = ANY_VERSION, *, max_bytes: int | None = None
    ) -> bytes:
        """Read a whole file."""
        return self._retry.run(lambda: _read(local_path(uri), version, 0, None, max_bytes))

    def read_range(
        self, uri: str, start: int, length: int, version: Version = ANY_VERSION
    ) -> bytes:
        """Read a part of a file; fewer bytes where the file ends before."""
        return self._retry.run(lambda: _read(local_path(uri), version, start, length, None))

    def create(self, uri: str, data: bytes) -> bool:
        """Create a whole file unless the name is taken: temporary file, fsync, link, fsync."""
        return self._retry.run(lambda: _create(local_path(uri), data))

    def check_create(self, folder: str) -> None:
        """Do nothing: ``create`` itself refuses file systems on which it is not safe."""

    def write(self, uri: str, data: bytes) -> None:
        """Write a whole file, and replace an older one."""
        self._retry.run(lambda: _write(local_path(uri), data))

    def delete(self, uri: str) -> None:
        """Remove a file, if it exists."""
        with _writing(uri):
            Path(local_path(uri)).unlink(missing_ok=True)


def _read(
    uri: str, version: Version, start: int, length: int | None, max_bytes: int | None
) -> bytes:
    last_seen = None
    for attempt in range(_READS):
        if attempt:
            time.sleep(_FIRST_PAUSE_S * 3 ** (attempt - 1))
        with _reading(uri), _open(uri) as file:
            before = os.fstat(file.fileno())
            is_settled = not 0 <= time.time_ns() - before.st_ctime_ns <= _TICK_NS
            found = Version(size_bytes=before.st_size, mtime_ns=before.st_mtime_ns)
            check_version(local_uri(uri), version, found)
            check_size(local_uri(uri), before.st_size, max_bytes)
            if not is_settled and not attempt:
                continue  # mostly it was just written, and then one read after a pause will do
            file.seek(start)
            data = file.read(-1 if length is None else length)
            after = os.fstat(file.fileno())
        seen = None
        if _times(before) == _times(after):
            # Programs may set a file's own time back, but not its inode's.
            if is_settled and before.st_ctime_ns == after.st_ctime_ns:
                return data
            # A new mode, a link or even a read moves that, too: then equal bytes are no rewrite.
            seen = _times(before), hashlib.sha256(data).digest()
            if seen == last_seen:
                return data
        last_seen = seen
        del data  # before the next read: it may be large
    raise UnreadableError(
        f"{local_uri(uri)!r} was changed while it was read, at each of {_READS} attempts"
    )


def _times(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _create(uri: str, data: bytes) -> bool:
    path = Path(uri)
    with _writing(uri):
        created = False
        if not os.path.lexists(path):
            temporary = _write_temporary(path, data)
            try:
                created = _link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        # Synced even if the file existed: a file that we report must outlive a power cut.
        _sync_folder(path.parent)
        return created


def _write(uri: str, data: bytes) -> None:
    path = Path(uri)
    with _writing(uri):
        temporary = _write_temporary(path, data)
        try:
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


@contextlib.contextmanager
def _reading(uri: str) -> Generator[None, None, None]:
    try:
        yield
    except (OSError, ValueError) as error:
        message = f"{local_uri(uri)!r} cannot be read: {_reason(error, uri)}"
        if isinstance(error, ValueError) or error.errno in _MISSING:
            raise MissingError(message) from error
        if error.errno in _UNREADABLE:
            raise UnreadableError(message) from error
        raise StorageError(message) from error


@contextlib.contextmanager
def _writing(uri: str) -> Generator[None, None, None]:
    try:
        yield
    except (OSError, ValueError) as error:
        message = f"{local_uri(uri)!r} cannot be written: {_reason(error, uri)}"
        if isinstance(error, ValueError) or error.errno in _PERMANENT:
            raise ConfigError(message) from error
        raise StorageError(message) from error


def _reason(error: OSError | ValueError, uri: str) -> str:
    if isinstance(error, ValueError):
        return "this cannot be a file name"
    reason = error.strerror or str(error)
    # The error is often about a folder above the file.
    return reason if error.filename in {None, uri} else f"{reason}: {error.filename!r}"


def _list_folder(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[ObjectInfo]:
    with _reading(folder):
        try:
            status = os.stat(folder)  # noqa: PTH116 -- a Path for each of a million is slow
            identity = status.st_dev, status.st_ino
            if identity in above:
                return
            with os.scandir(folder) as entries:
                found = [(entry.name, _is_folder_entry(entry)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return  # removed since its parent was listed
    # A folder sorts as "name/", which makes the whole listing ordered by uri, as S3's is.
    found.sort(key=lambda entry: os.fsencode(entry[0]) + (b"/" if entry[1] else b""))
    for name, is_folder in found:
        uri = f"{folder.rstrip('/')}/{name}"
        if is_folder:
            yield from _list_folder(uri, (*above, identity))
        else:
            info = _describe_listed(uri)
            if info is not None:
                yield info


def _is_folder_entry(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        return False


def _status(uri: str) -> os.stat_result | None:
    """Describe what has a name; None where nothing has it or can have it.

    Raises:
        OSError: never; it is translated.
    """
    with _reading(uri):
        try:
            return os.stat(uri)  # noqa: PTH116 -- a Path for each of a million is slow
        except ValueError:
            return None
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            return None


def _describe(uri: str) -> ObjectInfo | None:
    status = _status(uri)
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    return ObjectInfo(
        uri=local_uri(uri), size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, etag=None
    )


def _describe_listed(uri: str) -> ObjectInfo | None:
    # A link that leads nowhere is listed; so that nothing is lost, a path too long is an error.
    info = _describe(uri)
    if info is None:
        with _reading(uri), contextlib.suppress(FileNotFoundError):
            if stat.S_ISLNK(os.lstat(uri).st_mode) and _status(uri) is None:
                return ObjectInfo(uri=local_uri(uri), size_bytes=0, mtime_ns=None, etag=None)
    return info


def _open(uri: str) -> BinaryIO:
    # Without O_NONBLOCK, opening a named pipe without a writer would never return.
    try:
        descriptor = os.open(uri, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_DEVICE and not stat.S_ISREG(os.stat(uri).st_mode):  # noqa: PTH116
            raise _not_a_file() from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_a_file()
    return os.fdopen(descriptor, "rb")


def _not_a_file() -> OSError:
    return OSError(errno.EINVAL, "not a file")


def _make_folder(folder: Path) -> None:
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _write_temporary(path: Path, data: bytes) -> Path:
    _make_folder(path.parent)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(temporary: Path, path: Path) -> bool:
    # Whether this call gave the temporary file its final name; False when the name was taken.
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        # NFS may repeat a request whose reply was lost: then the name is taken by our own file.
        return temporary.stat().st_nlink > 1 and temporary.samefile(path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _rename_without_replacing(temporary, path)
    return True


def _rename_without_replacing(temporary: Path, path: Path) -> bool:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    code = errno.ENOSYS
    if renameat2 is not None:
        old, new = os.fsencode(temporary), os.fsencode(path)
        if renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE) == 0:
            return True
        code = ctypes.get_errno()
    if code == errno.EEXIST:
        return False
    if code in _NO_EXCLUSIVE_RENAME:
        raise ConfigError(
            f"{str(path)!r} cannot be created safely: this file system has neither hard links nor "
            "rename without replacing; put --out on another one"
        )
    raise OSError(code, os.strerror(code), str(path))
