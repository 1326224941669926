"""The index of a tar archive: where the content of each member lies, with all links followed.

It reads what POSIX.1-2017 (ustar, pax) and GNU tar write, with GNU's three formats of sparse files,
and goes on behind an end mark, as archives that were joined by ``cat`` do.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

from fcos_core.errors import DataError, one_line
from jobs.storage import ObjectInfo
from jobs.storage.local_uri import utf8_name
from jobs.storage.packing import HEAD_BYTES, packing_of
from jobs.storage.range_file import RangeFile

_MAX_HEADER_BYTES = 16 << 20  # of a long name or pax records; tarfile would believe any size
_END_MARK_BYTES = 2 * tarfile.BLOCKSIZE
_SCANNED_BYTES = 1 << 20
_MAX_LINKS = 40  # of one path, as in Linux


class TarMember(NamedTuple):
    """Where the content of a file lies in its archive.

    Attributes:
        start: offset of the first stored byte.
        size_bytes: length of the content.
        extents: for a sparse file, offset in the content and length of each stored part; all other
            bytes are zeros. None when the content is stored whole.
    """

    start: int
    size_bytes: int
    extents: tuple[tuple[int, int], ...] | None = None

    @property
    def stored_bytes(self) -> int:
        """Length of what is stored; the parts of a sparse file lie one behind the other."""
        if self.extents is None:
            return self.size_bytes
        return sum(length for _, length in self.extents)

    def expand(self, stored: bytes) -> bytes:
        """Turn the stored bytes into the content."""
        if self.extents is None:
            return stored
        content = bytearray(self.size_bytes)
        position = 0
        for offset, length in self.extents:
            content[offset : offset + length] = stored[position : position + length]
            position += length
        return bytes(content)


class LostMember(NamedTuple):
    """A member without a content that can be read; ``reason`` follows its name in a message."""

    reason: str


class _Link(NamedTuple):
    target: str
    is_hard: bool


_Entry = TarMember | LostMember | _Link


@dataclass(frozen=True)
class TarIndex:
    """The members of an archive, without folders.

    Attributes:
        members: by name (``utf8_name``), in the archive's order. Of two with one name the later
            counts, as when an archive is unpacked. A link has the content of the file that it leads
            to.
        superseded: the name of each member that does not count, once for each.
        trailing: offset of what lies behind the last end mark and is no archive; None for nothing.
    """

    members: dict[str, TarMember | LostMember]
    superseded: tuple[str, ...]
    trailing: int | None


def read_tar_index(info: ObjectInfo) -> TarIndex:
    """Read the headers of an archive and skip the contents.

    Raises:
        DataError: the file is no tar archive, is compressed, is damaged, or ends inside a member.
    """
    tree = _Tree()
    try:
        trailing = _read_archives(_HeaderReader(RangeFile(info)), tree)
    except (tarfile.TarError, LookupError, OverflowError, ValueError, RecursionError) as error:
        reason = _packing(info) or one_line(error)
        raise DataError(f"{info.uri}: no readable tar archive: {reason}") from error
    return tree.index(trailing)


class _HeaderReader(io.BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_HEADER_BYTES:
            place = f"byte {self.tell()}: a header of {size} bytes"
            raise tarfile.ReadError(f"{place}, limit {_MAX_HEADER_BYTES}")
        return super().read(size)


def _read_archives(file: _HeaderReader, tree: _Tree) -> int | None:
    """Read all headers, also of archives that follow the first one.

    Returns:
        Offset of what lies behind an end mark and is no archive; None where nothing does.

    Raises:
        ReadError: the file is damaged, or is no archive.
    """
    start: int | None = 0
    end = 0
    while start is not None:
        has_headers = False
        for header, end in _headers(file, start):
            has_headers = True
            if not header.isdir():
                tree.add(header.name, _entry(header, end))
        if start and not has_headers:
            # To tarfile a damaged header is the end of an archive like any other.
            if not end or start - end < _END_MARK_BYTES:
                raise tarfile.ReadError(f"byte {start}: neither a header nor an end mark")
            return start
        start = _next_block(file, end)
    return None


def _headers(file: _HeaderReader, start: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Read the headers of one archive; nothing where there is no header.

    Yields:
        A header, and the offset behind its member's content.

    Raises:
        ReadError: a header is damaged in a way that its checksum does not show.
    """
    file.seek(start)
    archive = tarfile.TarFile(fileobj=file)
    while (header := archive.next()) is not None:
        archive.members = []  # pyright: ignore[reportAttributeAccessIssue] -- it keeps every header
        if header.size < 0 or archive.offset <= header.offset:
            raise tarfile.ReadError(f"byte {header.offset}: a member of {header.size} bytes")
        yield header, archive.offset


def _next_block(file: io.BufferedReader, start: int) -> int | None:
    """Find the first block, counted from ``start``, that is not all zeros."""
    position = file.seek(start)
    while chunk := file.read(_SCANNED_BYTES):
        rest = chunk.lstrip(b"\0")
        if rest:
            found = position + len(chunk) - len(rest)
            return found - (found - start) % tarfile.BLOCKSIZE
        position += len(chunk)
    return None


def _entry(header: tarfile.TarInfo, end: int) -> _Entry:
    if header.islnk() or header.issym():
        return _Link(header.linkname, header.islnk())
    if not header.isreg():
        return LostMember(f"is no file, its type is {header.type!r}")
    parts = cast("list[tuple[int, int]] | None", header.sparse)  # typeshed has another type
    if parts is None:
        return TarMember(header.offset_data, header.size)
    extents = tuple((offset, length) for offset, length in parts if length)
    member = TarMember(header.offset_data, header.size, extents)
    ends = [0, *(offset + length for offset, length in extents)]
    is_sound = ends[-1] <= member.size_bytes and all(
        end <= offset and length > 0 for end, (offset, length) in zip(ends, extents, strict=False)
    )
    if not is_sound or header.offset_data + member.stored_bytes > end:
        return LostMember("is a sparse file whose map is damaged")
    return member


class _Tree:
    """The members by name and by path, as an archive that is unpacked step by step."""

    def __init__(self) -> None:
        self._names: dict[str, _Entry] = {}
        self._paths: dict[str, _Entry] = {}
        self._superseded: list[str] = []

    def add(self, name: str, entry: _Entry) -> None:
        if isinstance(entry, _Link) and entry.is_hard:
            # It is the member that has its target's name now; a later one may have it, too.
            entry = self._paths.get(posixpath.normpath(entry.target), entry)
        if self._names.get(name, entry) is not entry:  # a file packed twice is a link to itself
            self._superseded.append(name)
        path = posixpath.normpath(name)
        self._names[name] = entry
        self._paths[name if path == name else path] = entry  # one string where both are equal

    def index(self, trailing: int | None) -> TarIndex:
        members: dict[str, TarMember | LostMember] = {}
        superseded = list(self._superseded)
        for raw, entry in self._names.items():
            name = utf8_name(raw)
            if name != raw and name in self._names:
                superseded.append(name)  # the one that is really called so counts
                continue
            members[name] = self._follow(raw) if isinstance(entry, _Link) else entry
        return TarIndex(members, tuple(superseded), trailing)

    def _follow(self, name: str) -> TarMember | LostMember:
        """Find the file that a path leads to, also through links that stand for folders."""
        path: list[str] = []
        pending = _reversed_parts(name)
        num_links = 0
        while pending:
            part = pending.pop()
            if part == ".." and path and path[-1] != "..":
                if path[-1]:  # the folder above the root is the root
                    path.pop()
                continue
            path.append(part)
            entry = self._paths.get("/".join(path))
            if not isinstance(entry, _Link):
                continue
            num_links += 1
            if num_links > _MAX_LINKS:
                return LostMember("is a link in a circle")
            is_from_root = entry.is_hard or entry.target.startswith("/")
            path = [] if is_from_root else path[:-1]
            pending += _reversed_parts(entry.target)
        found = self._paths.get("/".join(path))
        if found is None or isinstance(found, _Link):
            return LostMember(f"is a link to {'/'.join(path)!r}, which is no file of the archive")
        return found


def _reversed_parts(path: str) -> list[str]:
    """Split a path into names, the last one first; the root of an absolute one is empty."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return [*reversed(parts), *([""] if path.startswith("/") else [])]


def _packing(info: ObjectInfo) -> str:
    packing = packing_of(RangeFile(info).read(HEAD_BYTES) or b"")
    return "" if packing is None else f"it is {packing}, unpack it first"
