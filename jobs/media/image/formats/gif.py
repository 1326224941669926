"""GIF: its header, and its first frame, of which all must be there; what follows does not count."""

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fcos_core.errors import ImageError
from jobs.media.image import opencv
from jobs.media.image.formats.header import ImageHeader

MAGICS = (b"GIF87a", b"GIF89a")

_SCREEN_BYTES = 13
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_NO_MORE_BLOCKS = 0
_HAS_PALETTE = 0x80


class _Frame(NamedTuple):
    left: int
    top: int
    width: int
    height: int
    data: int
    """Offset of the minimum code size, after which the pixel data's blocks follow."""


def read_header(data: bytes) -> ImageHeader:
    """Read the size of the screen, enlarged to hold the first frame.

    Raises:
        ImageError: the screen or the first frame has no area, or there is no frame.
    """
    width, height = struct.unpack_from("<HH", data, 6)
    if width * height == 0:
        raise ImageError(f"GIF screen of {width} x {height} pixels has no area")
    frame = _find_frame(data)
    if frame.width * frame.height == 0:
        raise ImageError(f"GIF frame of {frame.width} x {frame.height} pixels has no area")
    width = max(width, frame.left + frame.width)
    height = max(height, frame.top + frame.height)
    return ImageHeader(format="GIF", width=width, height=height)


def decode(data: bytes, _: ImageHeader) -> npt.NDArray[np.uint8]:
    """Decode the first frame.

    Raises:
        ImageError: the frame reaches beyond the screen, where decoders differ (they crop or
            stretch), or is truncated or corrupt.
    """
    width, height = struct.unpack_from("<HH", data, 6)
    frame = _find_frame(data)
    right, bottom = frame.left + frame.width, frame.top + frame.height
    if right > width or bottom > height:
        raise ImageError(
            f"corrupt GIF: its first frame reaches to {right} x {bottom}, "
            f"the screen is {width} x {height}"
        )
    end = frame.data + 1
    while end < len(data) and data[end]:
        end += 1 + data[end]
    if end > len(data):
        raise ImageError(
            f"truncated GIF: {len(data)} bytes, a block of its first frame ends at {end}"
        )
    # Where only the marks behind the pixels are missing, OpenCV misses no pixel.
    pixels = opencv.decode(data[:end] + bytes((_NO_MORE_BLOCKS, _TRAILER)))
    if pixels is None:
        kind = "truncated" if end == len(data) else "corrupt"
        raise ImageError(f"{kind} GIF: the first frame's pixel data does not decode")
    return pixels


def _find_frame(data: bytes) -> _Frame:
    position = _skip_extensions(data, _SCREEN_BYTES + _palette_bytes(data[10]))
    if data[position] == _TRAILER:
        raise ImageError("GIF without a frame")
    if data[position] != _IMAGE:
        raise ImageError(f"corrupt GIF: unknown block 0x{data[position]:02x} at byte {position}")
    return _read_frame(data, position)


def _read_frame(data: bytes, position: int) -> _Frame:
    left, top, width, height, flags = struct.unpack_from("<HHHHB", data, position + 1)
    return _Frame(left, top, width, height, position + 10 + _palette_bytes(flags))


def _palette_bytes(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & _HAS_PALETTE else 0


def _skip_extensions(data: bytes, position: int) -> int:
    while data[position] == _EXTENSION:
        position = _skip_blocks(data, position + 2)
    return position


def _skip_blocks(data: bytes, position: int) -> int:
    """Give the position behind a chain of length-prefixed blocks, which an empty block ends."""
    while data[position]:
        position += 1 + data[position]
    return position + 1
