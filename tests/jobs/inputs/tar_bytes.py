"""Tar archives byte by byte, also those that no library writes."""

import tarfile
from collections.abc import Sequence

END = bytes(2 * tarfile.BLOCKSIZE)

Extents = Sequence[tuple[int, int]]
"""Offset in the content and length of each stored part of a sparse file."""


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % tarfile.BLOCKSIZE)


def file(name: str, data: bytes) -> bytes:
    return header(name, len(data)) + padded(data)


def header(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, target: str = "", rest: bytes = b""
) -> bytes:
    """Make a block in GNU's format; ``rest`` replaces what follows the device numbers."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[345 : 345 + len(rest)] = rest
    return with_checksum(block)


def with_checksum(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def symlink(name: str, target: str) -> bytes:
    return header(name, kind=tarfile.SYMTYPE, target=target)


def hard_link(name: str, target: str) -> bytes:
    return header(name, kind=tarfile.LNKTYPE, target=target)


def pax(*records: tuple[str, object]) -> bytes:
    """Make the extended header of the member that follows."""
    lines = b""
    for keyword, value in records:
        line = f" {keyword}={value}\n".encode()
        length = len(line)
        while length != len(f"{length}") + len(line):
            length = len(f"{length}") + len(line)
        lines += f"{length}".encode() + line
    return header("PaxHeaders/x", len(lines), tarfile.XHDTYPE) + padded(lines)


def with_end(content: bytes, extents: Extents) -> Extents:
    """Add the empty part that GNU tar writes where a content ends in a hole."""
    return [*extents, (len(content), 0)]


def stored_parts(content: bytes, extents: Extents) -> bytes:
    return b"".join(content[offset : offset + length] for offset, length in extents)


def sparse_gnu(name: str, content: bytes, extents: Extents) -> bytes:
    """Make a member in the old GNU format, with four parts in its header and 21 in each block."""
    pairs = [b"%011o\0%011o\0" % pair for pair in with_end(content, extents)]
    stored = stored_parts(content, extents)
    blocks = [b"".join(pairs[start : start + 21]) for start in range(4, len(pairs), 21)]
    rest = bytes(41) + b"".join(pairs[:4]).ljust(96, b"\0")
    rest += (b"\1" if blocks else b"\0") + b"%011o\0" % len(content)
    extended = b"".join(
        block.ljust(504, b"\0") + (b"\1" if block is not blocks[-1] else b"\0") + bytes(7)
        for block in blocks
    )
    return header(name, len(stored), tarfile.GNUTYPE_SPARSE, rest=rest) + extended + padded(stored)


def sparse_pax_0_0(name: str, content: bytes, extents: Extents) -> bytes:
    pairs = [
        record
        for offset, length in with_end(content, extents)
        for record in (("GNU.sparse.offset", offset), ("GNU.sparse.numbytes", length))
    ]
    size, count = ("GNU.sparse.size", len(content)), ("GNU.sparse.numblocks", len(extents) + 1)
    return pax(size, count, *pairs) + file(name, stored_parts(content, extents))


def sparse_pax_0_1(name: str, content: bytes, extents: Extents) -> bytes:
    numbers = ",".join(f"{offset},{length}" for offset, length in with_end(content, extents))
    records = (
        ("GNU.sparse.size", len(content)),
        ("GNU.sparse.numblocks", len(extents) + 1),
        ("GNU.sparse.name", name),
        ("GNU.sparse.map", numbers),
    )
    return pax(*records) + file("GNUSparseFile.0/x", stored_parts(content, extents))


def sparse_pax_1_0(name: str, content: bytes, extents: Extents) -> bytes:
    pairs = with_end(content, extents)
    numbers = [len(pairs), *(number for pair in pairs for number in pair)]
    sparse_map = padded("".join(f"{number}\n" for number in numbers).encode())
    records = (
        ("GNU.sparse.major", 1),
        ("GNU.sparse.minor", 0),
        ("GNU.sparse.name", name),
        ("GNU.sparse.realsize", len(content)),
    )
    return pax(*records) + file("GNUSparseFile.0/x", sparse_map + stored_parts(content, extents))
