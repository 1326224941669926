"""Where the members of a tar archive lie, so that one can be read without those before it."""

from __future__ import annotations

import io
import tarfile
from typing import NamedTuple

from fcos_core.errors import DataError
from jobs.storage import ObjectInfo
from jobs.storage.range_file import RangeFile

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class TarMember(NamedTuple):
    """A plain file in an archive: offset and length of its content."""

    start: int
    size_bytes: int


def read_tar_index(info: ObjectInfo) -> dict[str, TarMember]:
    """Read the headers of an archive, passing over the contents.

    Args:
        info: the archive.

    Returns:
        Plain files by name, in the archive's order. Of two with one name the later counts, as it
        does when an archive is unpacked. Links, folders and sparse files are left out.

    Raises:
        DataError: it is no tar archive, compressed, or ends inside a member.
    """
    index: dict[str, TarMember] = {}
    try:
        with tarfile.open(fileobj=io.BufferedReader(RangeFile(info)), mode="r:") as archive:
            for member in archive:
                if member.isreg() and not member.issparse():
                    index[member.name] = TarMember(member.offset_data, member.size)
    except (tarfile.TarError, OverflowError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{info.uri}: no readable tar archive: {_compression(info)}{reason}"
        ) from error
    return index


def _compression(info: ObjectInfo) -> str:
    start = RangeFile(info).read(8) or b""
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            return f"it is compressed with {name}, unpack it first: "
    return ""
