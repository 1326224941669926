"""PNG: its header, its chunks' checksums, and why its pixel data does not decode."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fcos_core.errors import ImageError
from jobs.media.image import opencv
from jobs.media.image.formats.header import ImageHeader
from jobs.media.image.orientation import read_orientation

MAGICS = (b"\x89PNG\r\n\x1a\n",)

_FIRST_CHUNK = 8
_CHUNK_OVERHEAD = 12  # length, type and checksum
_ANCILLARY = 0x20
_END = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_LAST_FILTER = 4
_INFLATED_AT_ONCE = 1 << 20
_LARGEST_RATIO = 1032  # of deflate
_HARMLESS_BYTES = 64 << 20  # inflated in a moment
_NUM_SAMPLES, _SAMPLE_BYTES, _VARIED = 16, 256, 64


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    """Offset of the content."""
    end: int
    """Offset of the checksum."""

    def content(self, data: bytes) -> bytes:
        return data[self.start : self.end]

    def whole(self, data: bytes) -> bytes:
        return data[self.start - 8 : self.end + 4]

    def is_sound(self, data: bytes) -> bool:
        (stored,) = struct.unpack_from(">I", data, self.end)
        return stored == zlib.crc32(memoryview(data)[self.start - 4 : self.end])


def read_header(data: bytes) -> ImageHeader:
    """Read size and EXIF orientation; a block of EXIF with a wrong checksum does not count.

    Raises:
        ImageError: the first chunk is not the header.
    """
    length, kind, width, height = struct.unpack_from(">I4sII", data, _FIRST_CHUNK)
    if kind != b"IHDR" or length != struct.calcsize(">IIBBBBB"):
        raise ImageError(f"corrupt PNG: begins with chunk {kind!r} of {length} bytes, not IHDR")
    blocks = (c.content(data) for c in _chunks(data) if c.kind == b"eXIf" and c.is_sound(data))
    orientation = read_orientation(next(blocks, b""))
    return ImageHeader(format="PNG", width=width, height=height, orientation=orientation)


def decode(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    """Decode as ``decode_noting``, whose note is left out."""
    return decode_noting(data, header)[0]


def decode_noting(data: bytes, _: ImageHeader) -> tuple[npt.NDArray[np.uint8], str | None]:
    """Decode the image; of an animation, the one for viewers that show none.

    Returns:
        The pixels, and a note where chunks are damaged that no pixel depends on.

    Raises:
        ImageError: a chunk that pixels depend on is damaged or missing.
    """
    pixels = opencv.decode(_only_pixels(data))
    if pixels is None:
        raise ImageError(_explain(data))
    return pixels, _harmless_damage(data)


def _harmless_damage(data: bytes) -> str | None:
    """Say which chunk that no pixel depends on is damaged."""
    for chunk in _chunks(data):
        if chunk.kind == b"IEND":
            return None
        if chunk.kind[0] & _ANCILLARY and not chunk.is_sound(data):
            name = chunk.kind.decode("latin-1")
            return f"PNG with a damaged chunk {name!r}; no pixel depends on it"
    return "PNG without its end mark; all pixels are in the file"


def _only_pixels(data: bytes) -> bytes:
    """Leave out the chunks that no pixel depends on, whatever their damage.

    Those are texts, profiles, transparency (libpng writes warnings about them to stderr, even for
    many undamaged files), the frames of an animation (OpenCV 5.0 dies of damaged ones), and the
    end mark, if all pixels are in the file.

    Raises:
        ImageError: a chunk that pixels depend on is damaged or missing.
    """
    needed, has_end = _needed_chunks(data)
    for chunk in needed:
        if not chunk.is_sound(data):
            stored = data[chunk.end : chunk.end + 4].hex()
            computed = zlib.crc32(memoryview(data)[chunk.start - 4 : chunk.end])
            raise ImageError(
                f"corrupt PNG: chunk {chunk.kind.decode('latin-1')!r} at byte {chunk.start - 8} "
                f"has checksum {stored}, its content {computed:08x}"
            )
    end = needed[-1].end + 4 if needed else _FIRST_CHUNK
    if _may_swell(data, needed) and _unpacks_to_more(data, needed):
        raise ImageError(
            f"corrupt PNG: pixel data inflates to more than {2 * _pixel_bytes(data)} bytes, "
            f"{_pixel_bytes(data)} needed"
        )
    # A block of EXIF that is cut may tell the orientation.
    if not has_end and (b"eXIf" in data[end:] or not _is_complete(data, needed)):
        raise ImageError(f"truncated PNG: {len(data)} bytes, no IEND; whole chunks end at {end}")
    num_bytes = _FIRST_CHUNK + sum(_CHUNK_OVERHEAD + c.end - c.start for c in needed) + len(_END)
    if num_bytes == len(data) and data.endswith(_END):
        return data
    return b"".join((data[:_FIRST_CHUNK], *(chunk.whole(data) for chunk in needed), _END))


def _needed_chunks(data: bytes) -> tuple[list[_Chunk], bool]:
    """Choose the chunks that pixels depend on; say whether the end mark follows them."""
    needed: list[_Chunk] = []
    for chunk in _chunks(data):
        if chunk.kind == b"IEND":
            return needed, True
        if chunk.kind[0] & _ANCILLARY:
            continue
        if needed and needed[-1].kind == b"IDAT" and chunk.kind != b"IDAT":
            break
        needed.append(chunk)
    return needed, False


def _may_swell(data: bytes, needed: Sequence[_Chunk]) -> bool:
    """Say whether the pixel data may inflate to very much more than the pixels.

    libpng inflates what lies behind the last row, too, to its end. Data that inflate to a hundred
    times their size are monotonous themselves: samples have few different bytes, those of a photo
    have more than a hundred.
    """
    chunks = [chunk for chunk in needed if chunk.kind == b"IDAT"]
    num_bytes = sum(chunk.end - chunk.start for chunk in chunks)
    if num_bytes * _LARGEST_RATIO <= max(2 * _pixel_bytes(data), _HARMLESS_BYTES):
        return False
    start, end = chunks[0].start, chunks[-1].end
    for i in range(1, _NUM_SAMPLES + 1):
        at = max(start, start + (end - start) * i // _NUM_SAMPLES - _SAMPLE_BYTES)
        sample = data[at : min(at + _SAMPLE_BYTES, end)]
        if len(set(sample)) < _VARIED:
            return True
    return False


def _unpacks_to_more(data: bytes, needed: Sequence[_Chunk]) -> bool:
    """Say whether the pixel data inflates to more than interlaced rows can take."""
    return _inflate(data, needed)[0] > 2 * _pixel_bytes(data)


def _is_complete(data: bytes, needed: Sequence[_Chunk]) -> bool:
    """Say whether the stream of pixel data is there to its end, which is a checksum."""
    return _inflate(data, needed)[1]


def _inflate(data: bytes, needed: Sequence[_Chunk]) -> tuple[int, bool]:
    """Count what the pixel data inflates to, and say whether its stream has an end.

    Interlaced rows are shorter and more, and take less than twice the bytes; what follows is not
    looked at.
    """
    stream = zlib.decompressobj()
    num_bytes, most = 0, 2 * _pixel_bytes(data)
    try:
        for chunk in needed:
            rest = chunk.content(data) if chunk.kind == b"IDAT" else b""
            while rest and num_bytes <= most:
                num_bytes += len(stream.decompress(rest, _INFLATED_AT_ONCE))
                rest = stream.unconsumed_tail
    except zlib.error:
        return num_bytes, False
    return num_bytes, stream.eof


def _explain(data: bytes) -> str:
    """Say why a PNG whose chunks are complete does not decode."""
    _, height, _, color, _, _, interlace = _read_fields(data)
    if color not in _CHANNELS:
        return f"corrupt PNG: colour type {color} does not exist"
    needed = _pixel_bytes(data)
    compressed = b"".join(chunk.content(data) for chunk in _chunks(data) if chunk.kind == b"IDAT")
    try:
        pixels = zlib.decompressobj().decompress(compressed, needed)
    except zlib.error as error:
        return f"corrupt PNG: pixel data does not inflate: {error}"
    if interlace:
        return "corrupt PNG: interlaced pixel data does not decode"
    filters = pixels[:: needed // height]
    for row, kind in enumerate(filters):
        if kind > _LAST_FILTER:
            return f"corrupt PNG: row {row} of {height} has filter type {kind}, limit 4"
    if len(pixels) < needed:
        return f"corrupt PNG: pixel data inflates to {len(pixels)} bytes, {needed} needed"
    return "corrupt PNG: the decoder finds no image in it"


def _read_fields(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(">IIBBBBB", data, 16)


def _pixel_bytes(data: bytes) -> int:
    """Compute how many bytes the rows take, each with the byte that tells its filter."""
    width, height, depth, color, *_ = _read_fields(data)
    return height * (1 + (width * depth * _CHANNELS.get(color, 1) + 7) // 8)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    # Complete chunks up to the end mark.
    position = _FIRST_CHUNK
    kind = b""
    while kind != b"IEND" and position + _CHUNK_OVERHEAD <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if position + _CHUNK_OVERHEAD + length > len(data):
            return
        yield _Chunk(kind, position + 8, position + 8 + length)
        position += _CHUNK_OVERHEAD + length
