"""GIF: its header, the first frame's place on the screen, and where a truncated file ends."""

import struct
from typing import NamedTuple

from fcos_core.errors import ImageError
from jobs.media.image.formats.header import ImageHeader

MAGICS = (b"GIF87a", b"GIF89a")

_SCREEN_BYTES = 13
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
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


def check(data: bytes) -> None:
    """Check that the first frame lies on the screen and that its data is complete.

    Raises:
        ImageError: the frame reaches beyond the screen, where decoders differ (they crop or
            stretch), or the file is truncated.
    """
    width, height = struct.unpack_from("<HH", data, 6)
    frame = _find_frame(data)
    right, bottom = frame.left + frame.width, frame.top + frame.height
    if right > width or bottom > height:
        raise ImageError(
            f"corrupt GIF: its first frame reaches to {right} x {bottom}, "
            f"the screen is {width} x {height}"
        )
    _skip_blocks(data, frame.data + 1)


def explain(data: bytes) -> str:
    """Say why a GIF whose first frame is complete does not decode."""
    try:
        position = _skip_blocks(data, _find_frame(data).data + 1)
        while data[position] != _TRAILER:
            position = _skip_extensions(data, position)
            if data[position] == _IMAGE:
                position = _skip_blocks(data, _read_frame(data, position).data + 1)
            elif data[position] != _TRAILER:
                return f"corrupt GIF: unknown block 0x{data[position]:02x} at byte {position}"
    except IndexError:
        return f"truncated GIF: {len(data)} bytes, no trailer"
    return "corrupt GIF: the first frame's pixel data does not decode"


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
