"""BMP: its header, the number of bytes its rows take, and the masks of its colours."""

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL.BmpImagePlugin import BmpImageFile

from fcos_core.errors import ImageError
from jobs.media.image import opencv, pillow
from jobs.media.image.formats.header import ImageHeader

MAGICS = (b"BM",)

_FILE_HEADER_BYTES = 14
_CORE_HEADER_BYTES, _INFO_HEADER_BYTES, _V2_HEADER_BYTES, _V3_HEADER_BYTES = 12, 40, 52, 56
_NAMES = {0: "none", 1: "RLE8", 2: "RLE4", 3: "bit fields", 4: "JPEG", 5: "PNG", 6: "bit fields"}
_BIT_FIELDS, _BIT_FIELDS_WITH_ALPHA = 3, 6
_UNCOMPRESSED = {0, _BIT_FIELDS, _BIT_FIELDS_WITH_ALPHA}
_MASKS_BEHIND_HEADER = {_BIT_FIELDS: 12, _BIT_FIELDS_WITH_ALPHA: 16}
_FORMS_WITHOUT_ALPHA = {(_INFO_HEADER_BYTES, _BIT_FIELDS), (_V2_HEADER_BYTES, _BIT_FIELDS)}
_MASKS = slice(54, 66)
_USUAL_MASKS = {bytes(12), struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)}
_HIGH_COLOUR_BITS = 16
_LARGEST_PALETTE_BITS = 8
_PIXELS_OFFSET, _NUM_COLOURS_OFFSET = 10, 46


class _Layout(NamedTuple):
    pixels: int
    """Offset of the first row that is stored."""
    header_bytes: int
    width: int
    height: int
    bits: int
    compression: int


def read_header(data: bytes) -> ImageHeader:
    """Read the size; a negative height only says that the rows run from the top."""
    layout = _read_layout(data)
    return ImageHeader(format="BMP", width=layout.width, height=abs(layout.height))


def decode(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    """Decode the image.

    Raises:
        ImageError: the file is truncated, or of a kind that is not supported.
    """
    data = _with_offset_of_pixels(data)
    layout = _read_layout(data)
    if layout.compression in _UNCOMPRESSED:
        data = _with_last_padding(data, layout)
    data = _with_masks_in_header(data, layout)
    reason = "does not decode"
    pixels = None
    if layout.bits == _HIGH_COLOUR_BITS:
        # OpenCV refuses most headers of such files, and its white is 248.
        try:
            image = pillow.load(BmpImageFile, data, header.width, header.height)
            pixels = np.array(image.convert("RGB"))
        except (NotImplementedError, OSError) as error:
            reason = str(error)
    else:
        pixels = opencv.decode(data)
    if pixels is None:
        raise ImageError(
            f"BMP of {layout.bits} bits per pixel, compression {layout.compression} "
            f"({_NAMES.get(layout.compression, 'unknown')}): {reason}"
        )
    return pixels


def _with_offset_of_pixels(data: bytes) -> bytes:
    """Write the offset of the pixels where it is 0, or that of the palette, as some programs do.

    They begin behind the palette then, as to Pillow. OpenCV would take headers for pixels.

    Raises:
        ImageError: the offset is inside the headers.
    """
    layout = _read_layout(data)
    headers = _FILE_HEADER_BYTES + layout.header_bytes
    if layout.header_bytes == _INFO_HEADER_BYTES:
        headers += _MASKS_BEHIND_HEADER.get(layout.compression, 0)
    has_palette = layout.bits <= _LARGEST_PALETTE_BITS
    if layout.pixels == 0 or (has_palette and layout.pixels == headers):
        pixels = headers + (_palette_bytes(data, layout) if has_palette else 0)
        return data[:_PIXELS_OFFSET] + struct.pack("<I", pixels) + data[_PIXELS_OFFSET + 4 :]
    if layout.pixels < headers:
        place = f"byte {layout.pixels}, inside its headers, which end at {headers}"
        raise ImageError(f"corrupt BMP: its pixels begin at {place}")
    return data


def _palette_bytes(data: bytes, layout: _Layout) -> int:
    if layout.header_bytes == _CORE_HEADER_BYTES:
        return 3 << layout.bits
    (num_colours,) = struct.unpack_from("<I", data, _NUM_COLOURS_OFFSET)
    return 4 * (num_colours or 1 << layout.bits)


def _with_last_padding(data: bytes, layout: _Layout) -> bytes:
    """Check that all rows are there. The bytes that pad the last one may be missing.

    Raises:
        ImageError: the file is truncated.
    """
    row_bits = layout.width * layout.bits
    padded_row = (row_bits + 31) // 32 * 4
    end = layout.pixels + padded_row * abs(layout.height)
    padding = padded_row - (row_bits + 7) // 8
    if len(data) < end - padding:
        raise ImageError(f"truncated BMP: {len(data)} bytes, its rows end at {end}")
    return data.ljust(end, b"\0")


def _with_masks_in_header(data: bytes, layout: _Layout) -> bytes:
    """Make a short header whose masks follow, or end it, one of version 3.

    OpenCV takes a pixel of 32 bits for BGRX where its header is shorter, whatever the masks say.
    """
    form = layout.header_bytes, layout.compression
    if form == (_INFO_HEADER_BYTES, _BIT_FIELDS_WITH_ALPHA):
        no_alpha = b""
    elif form in _FORMS_WITHOUT_ALPHA and data[_MASKS] not in _USUAL_MASKS:
        no_alpha = b"\0" * 4
    else:
        return data
    head = bytearray(data[: _MASKS.stop])
    struct.pack_into("<II", head, 10, layout.pixels + len(no_alpha), _V3_HEADER_BYTES)
    struct.pack_into("<I", head, 30, _BIT_FIELDS)
    return bytes(head) + no_alpha + data[_MASKS.stop :]


def _read_layout(data: bytes) -> _Layout:
    pixels, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return _Layout(pixels, header_bytes, width, height, bits, compression=0)
    if header_bytes < _INFO_HEADER_BYTES:
        raise ImageError(f"BMP header of {header_bytes} bytes, expected 12 or at least 40")
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    return _Layout(pixels, header_bytes, width, height, bits, compression)
