"""PNG: its header, its chunks' checksums, and why its pixel data does not decode."""

import struct
import zlib
from collections.abc import Iterator

from fcos_core.errors import ImageError
from jobs.media.image.formats.header import ImageHeader
from jobs.media.image.orientation import read_orientation

MAGICS = (b"\x89PNG\r\n\x1a\n",)

_FIRST_CHUNK = 8
_CHUNK_OVERHEAD = 12  # length, type and checksum
_ANCILLARY = 0x20
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
"""Chunks of an animation; they tell which image is its first."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_LAST_FILTER = 4


def read_header(data: bytes) -> ImageHeader:
    """Read size and EXIF orientation.

    Raises:
        ImageError: the first chunk is not the header.
    """
    length, kind, width, height = struct.unpack_from(">I4sII", data, _FIRST_CHUNK)
    if kind != b"IHDR" or length != struct.calcsize(">IIBBBBB"):
        raise ImageError(f"corrupt PNG: begins with chunk {kind!r} of {length} bytes, not IHDR")
    blocks = (data[s : s + n] for chunk, s, n in _chunks(data) if chunk == b"eXIf")
    orientation = read_orientation(next(blocks, b""))
    return ImageHeader(format="PNG", width=width, height=height, orientation=orientation)


def check(data: bytes) -> None:
    """Check that the file is complete and that every chunk a decoder needs has the right checksum.

    Raises:
        ImageError: the file is truncated or a checksum is wrong.
    """
    end = _FIRST_CHUNK
    chunk = b""
    for chunk, start, length in _chunks(data):
        end = start + length + 4
        if chunk[0] & _ANCILLARY:
            continue
        (stored,) = struct.unpack_from(">I", data, start + length)
        computed = zlib.crc32(memoryview(data)[start - 4 : start + length])
        if stored != computed:
            name, place = chunk.decode("latin-1"), start - 8
            raise ImageError(
                f"corrupt PNG: chunk {name!r} at byte {place} has checksum {stored:08x}, "
                f"its content {computed:08x}"
            )
    if chunk != b"IEND":
        raise ImageError(f"truncated PNG: {len(data)} bytes, no IEND; whole chunks end at {end}")


def without_extras(data: bytes) -> bytes:
    """Leave out the chunks that no pixel depends on: profiles, texts, times, transparency.

    libpng writes warnings about such chunks to stderr, even for many undamaged files.
    """
    spans = [(start - 8, start + length + 4, kind) for kind, start, length in _chunks(data)]
    kept = [data[a:b] for a, b, kind in spans if not kind[0] & _ANCILLARY or kind in _ANIMATION]
    return data if len(kept) == len(spans) else b"".join((data[:_FIRST_CHUNK], *kept))


def explain(data: bytes) -> str:
    """Say why a PNG whose chunks are complete does not decode."""
    width, height, depth, color, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if color not in _CHANNELS:
        return f"corrupt PNG: colour type {color} does not exist"
    row_bytes = 1 + (width * depth * _CHANNELS[color] + 7) // 8
    needed = row_bytes * height
    compressed = b"".join(data[s : s + n] for kind, s, n in _chunks(data) if kind == b"IDAT")
    try:
        pixels = zlib.decompressobj().decompress(compressed, needed)
    except zlib.error as error:
        return f"corrupt PNG: pixel data does not inflate: {error}"
    if interlace:
        return "corrupt PNG: interlaced pixel data does not decode"
    filters = pixels[::row_bytes]
    for row, kind in enumerate(filters):
        if kind > _LAST_FILTER:
            return f"corrupt PNG: row {row} of {height} has filter type {kind}, limit 4"
    if len(pixels) < needed:
        return f"corrupt PNG: pixel data inflates to {len(pixels)} bytes, {needed} needed"
    return "corrupt PNG: the decoder finds no image in it"


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    # Type, offset of the content and its length, of complete chunks up to the end mark.
    position = _FIRST_CHUNK
    kind = b""
    while kind != b"IEND" and position + _CHUNK_OVERHEAD <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if position + _CHUNK_OVERHEAD + length > len(data):
            return
        yield kind, position + 8, length
        position += _CHUNK_OVERHEAD + length
