"""TIFF: its first directory, and whether its pixel data is complete and unpacks."""

import io
import struct
from dataclasses import dataclass
from typing import NamedTuple

from PIL.TiffImagePlugin import TiffImageFile

from fcos_core.errors import ImageError
from jobs.media.image.formats.header import ImageHeader
from jobs.media.image.orientation import UPRIGHT

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION = 256, 257, 258, 259, 274
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_SAMPLE_FORMAT = 339
_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_UNCOMPRESSED = 1
_TAGS = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION, _SAMPLE_FORMAT),
    *(_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES),
}
_NOT_FOR_PILLOW = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError),
    *(struct.error, RuntimeError, Warning),
)
"""Errors that Pillow raises for tags it does not support; OpenCV alone decodes such a file."""
_SAMPLE_KINDS = {1: "unsigned", 2: "signed", 3: "float"}


class _Layout(NamedTuple):
    """The sizes in which TIFF and BigTIFF differ."""

    first_directory: int
    offset: str
    entry_count: str
    entry: str
    entry_bytes: int


_CLASSIC = _Layout(4, "I", "H", "HHI", 12)
_BIG = _Layout(8, "Q", "Q", "HHQ", 20)


@dataclass(frozen=True)
class _Directory:
    """The integer tags of the first image in the file."""

    tags: dict[int, tuple[int, ...]]

    def first(self, tag: int, default: int) -> int:
        return self.tags.get(tag, (default,))[0]


def read_header(data: bytes) -> ImageHeader:
    """Read size and orientation of the first image.

    Raises:
        ImageError: the directory has no size.
    """
    directory = _read_directory(data)
    if _WIDTH not in directory.tags or _HEIGHT not in directory.tags:
        raise ImageError("corrupt TIFF: its first directory has no width or height")
    orientation = directory.first(_ORIENTATION, UPRIGHT)
    return ImageHeader(
        format="TIFF",
        width=directory.first(_WIDTH, 0),
        height=directory.first(_HEIGHT, 0),
        orientation=orientation if orientation in range(1, 9) else UPRIGHT,
    )


def check(data: bytes) -> None:
    """Check that every strip or tile is complete and unpacks.

    OpenCV keeps the part of a damaged strip that it could unpack and goes on, so Pillow, which
    stops at damage, unpacks a compressed file first. TIFF is rare enough for the double work.

    Raises:
        ImageError: the file is truncated or its data does not unpack.
    """
    tags = _read_directory(data).tags
    is_tiled = _TILE_OFFSETS in tags
    starts = tags.get(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS, ())
    sizes = tags.get(_TILE_BYTES if is_tiled else _STRIP_BYTES, ())
    end = max((start + size for start, size in zip(starts, sizes, strict=False)), default=0)
    if end > len(data):
        raise ImageError(f"truncated TIFF: {len(data)} bytes, its pixel data ends at {end}")
    if tags.get(_COMPRESSION, (_UNCOMPRESSED,))[0] != _UNCOMPRESSED:
        _unpack(data)


def explain(data: bytes) -> str:
    """Say why a complete TIFF does not decode."""
    directory = _read_directory(data)
    bits, compression = directory.first(_BITS, 1), directory.first(_COMPRESSION, _UNCOMPRESSED)
    kind = _SAMPLE_KINDS.get(directory.first(_SAMPLE_FORMAT, 1), "unknown")
    return f"TIFF of {bits}-bit {kind} samples and compression {compression} does not decode"


def _unpack(data: bytes) -> None:
    try:
        # Not Image.open: its pixel limit is a global of the process; ours was checked before.
        image = TiffImageFile(io.BytesIO(data))
    except _NOT_FOR_PILLOW:
        return
    try:
        image.load()
    except OSError as error:
        raise ImageError(f"corrupt TIFF: its pixel data does not unpack: {error}") from error
    except _NOT_FOR_PILLOW:
        return


def _read_directory(data: bytes) -> _Directory:
    byte_order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(byte_order + "H", data, 2)
    layout = _BIG if version == ord("+") else _CLASSIC
    (start,) = struct.unpack_from(byte_order + layout.offset, data, layout.first_directory)
    (num_entries,) = struct.unpack_from(byte_order + layout.entry_count, data, start)
    entry = start + struct.calcsize(byte_order + layout.entry_count)
    tags: dict[int, tuple[int, ...]] = {}
    for _ in range(num_entries):
        tag, kind, count = struct.unpack_from(byte_order + layout.entry, data, entry)
        if tag in _TAGS and kind in _FORMATS and count:
            values = f"{byte_order}{count}{_FORMATS[kind]}"
            at = entry + struct.calcsize(byte_order + layout.entry)
            if struct.calcsize(values) > struct.calcsize(byte_order + layout.offset):
                (at,) = struct.unpack_from(byte_order + layout.offset, data, at)
            tags[tag] = struct.unpack_from(values, data, at)
        entry += layout.entry_bytes
    return _Directory(tags)
