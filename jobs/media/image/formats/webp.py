"""WebP: its header, and the file length that its container announces."""

import struct
from collections.abc import Iterator

from fcos_core.errors import ImageError
from jobs.media.image.formats.header import ImageHeader
from jobs.media.image.orientation import read_orientation

CONTAINER = b"RIFF"
FORM = b"WEBP"
"""The word behind the length in a RIFF container; sound and video have other words there."""

_FIRST_CHUNK = 12
_KEY_FRAME_MARK = b"\x9d\x01\x2a"
_LOSSLESS_MARK = 0x2F
_SIDE_BITS = 14
_SIDE_MASK = (1 << _SIDE_BITS) - 1


def read_header(data: bytes) -> ImageHeader:
    """Read size (an animation's canvas) and EXIF orientation.

    Raises:
        ImageError: the first chunk holds no image.
    """
    width, height = _read_size(data)
    blocks = (data[s : s + n] for kind, s, n in _chunks(data) if kind == b"EXIF")
    orientation = read_orientation(next(blocks, b""))
    return ImageHeader(format="WebP", width=width, height=height, orientation=orientation)


def check(data: bytes) -> None:
    """Check that the file is as long as its header announces.

    Raises:
        ImageError: the file is truncated.
    """
    announced = int.from_bytes(data[4:8], "little") + 8
    if announced > len(data):
        raise ImageError(f"truncated WebP: {len(data)} bytes, its header announces {announced}")


def explain(data: bytes) -> str:
    """Say why a WebP of the right length does not decode."""
    end = max((start + length for _, start, length in _chunks(data)), default=_FIRST_CHUNK)
    if end > len(data):
        return f"corrupt WebP: a chunk ends at byte {end} of {len(data)}"
    return "corrupt WebP: its bit stream does not decode"


def _read_size(data: bytes) -> tuple[int, int]:
    (kind,) = struct.unpack_from("4s", data, _FIRST_CHUNK)
    start = _FIRST_CHUNK + 8
    if kind == b"VP8X":
        sides = struct.unpack_from("<3s3s", data, start + 4)
        width, height = (int.from_bytes(side, "little") + 1 for side in sides)
    elif kind == b"VP8 ":
        mark, width, height = struct.unpack_from("<3sHH", data, start + 3)
        if mark != _KEY_FRAME_MARK:
            raise ImageError("corrupt WebP: its first frame is not a key frame")
        width, height = width & _SIDE_MASK, height & _SIDE_MASK
    elif kind == b"VP8L":
        mark, bits = struct.unpack_from("<BI", data, start)
        if mark != _LOSSLESS_MARK:
            raise ImageError(f"corrupt WebP: lossless data begins with 0x{mark:02x}, not 0x2f")
        width, height = (bits & _SIDE_MASK) + 1, (bits >> _SIDE_BITS & _SIDE_MASK) + 1
    else:
        raise ImageError(f"corrupt WebP: begins with chunk {kind!r}, which is no image")
    return width, height


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    # Type, offset of the content and its announced length.
    position = _FIRST_CHUNK
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, position + 8, length
        position += 8 + length + length % 2
