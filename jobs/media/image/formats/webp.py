"""WebP: its header, and its first image, which must be whole; what follows does not count."""

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fcos_core.errors import ImageError
from jobs.media.image import opencv
from jobs.media.image.formats.header import ImageHeader
from jobs.media.image.orientation import read_orientation

CONTAINER = b"RIFF"
FORM = b"WEBP"
"""The word behind the length in a RIFF container; sound and video have other words there."""

_FIRST_CHUNK = 12
_IMAGES = {b"VP8 ", b"VP8L", b"ANMF"}
_HAS_EXIF = 0x08
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


def decode(data: bytes, _: ImageHeader) -> npt.NDArray[np.uint8]:
    """Decode the first image; the length that the container announces need not be right.

    Raises:
        ImageError: the first image is missing, truncated or corrupt.
    """
    end = next((start + length for kind, start, length in _chunks(data) if kind in _IMAGES), None)
    if end is None or end > len(data):
        announced = _announced_bytes(data)
        where = "none of its chunks is an image" if end is None else f"its image ends at {end}"
        kind = "truncated" if announced > len(data) else "corrupt"
        raise ImageError(f"{kind} WebP: {len(data)} bytes of {announced} announced, {where}")
    if _lacks_exif(data):
        raise ImageError(f"truncated WebP: {len(data)} bytes, its EXIF chunk is cut or missing")
    chunks = data[len(CONTAINER) + 4 : end] + b"\0" * (end % 2)
    pixels = opencv.decode(CONTAINER + struct.pack("<I", len(chunks)) + chunks)
    if pixels is None:
        raise ImageError("corrupt WebP: its bit stream does not decode")
    return pixels


def _lacks_exif(data: bytes) -> bool:
    """Say whether EXIF, which tells the orientation, is announced and was cut off.

    A whole file may announce EXIF and have none; then it is upright, as to libwebp.
    """
    is_extended = data[_FIRST_CHUNK : _FIRST_CHUNK + 4] == b"VP8X"
    if not is_extended or not data[_FIRST_CHUNK + 8] & _HAS_EXIF:
        return False
    end = next((start + length for kind, start, length in _chunks(data) if kind == b"EXIF"), None)
    # Without EXIF the container's own end counts; a byte that pads the last chunk may be missing.
    return _announced_bytes(data) > len(data) + 1 if end is None else end > len(data)


def _announced_bytes(data: bytes) -> int:
    return int.from_bytes(data[4:8], "little") + 8


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
