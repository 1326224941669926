"""BMP: its header and the number of bytes its rows take."""

import struct
from typing import NamedTuple

from fcos_core.errors import ImageError
from jobs.media.image.formats.header import ImageHeader

MAGICS = (b"BM",)

_CORE_HEADER_BYTES = 12
_INFO_HEADER_BYTES = 40
_UNCOMPRESSED = {0, 3, 6}  # BI_RGB, BI_BITFIELDS, BI_ALPHABITFIELDS


class _Layout(NamedTuple):
    pixels: int
    """Offset of the first row."""
    width: int
    height: int
    bits: int
    compression: int


def read_header(data: bytes) -> ImageHeader:
    """Read the size; a negative height only says that the rows run from the top."""
    layout = _read_layout(data)
    return ImageHeader(format="BMP", width=layout.width, height=abs(layout.height))


def check(data: bytes) -> None:
    """Check that all uncompressed rows are in the file.

    Raises:
        ImageError: the file is truncated.
    """
    layout = _read_layout(data)
    row_bytes = (layout.width * layout.bits + 31) // 32 * 4
    end = layout.pixels + row_bytes * abs(layout.height)
    if layout.compression in _UNCOMPRESSED and end > len(data):
        raise ImageError(f"truncated BMP: {len(data)} bytes, its rows end at {end}")


def explain(data: bytes) -> str:
    """Say why a BMP that is long enough does not decode."""
    layout = _read_layout(data)
    return f"BMP of {layout.bits} bits per pixel, compression {layout.compression}: does not decode"


def _read_layout(data: bytes) -> _Layout:
    pixels, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return _Layout(pixels, width, height, bits, compression=0)
    if header_bytes < _INFO_HEADER_BYTES:
        raise ImageError(f"corrupt BMP: header of {header_bytes} bytes, expected 12 or at least 40")
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    return _Layout(pixels, width, height, bits, compression)
