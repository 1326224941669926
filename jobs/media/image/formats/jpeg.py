"""JPEG: its header, and a decoder that refuses damaged data instead of making it grey.

OpenCV returns pixels for many corrupt JPEGs and only prints libjpeg's warning. simplejpeg calls the
same libjpeg-turbo, gives the same pixels (a test compares them) and raises on every warning.
"""

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import simplejpeg

from fcos_core.errors import ImageError
from jobs.media.image import opencv
from jobs.media.image.formats.header import ImageHeader
from jobs.media.image.orientation import UPRIGHT, read_orientation

MAGICS = (b"\xff\xd8\xff",)

_APP0, _APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE0, 0xE1, 0xDA, 0xD9
_STANDALONE = {0x00, 0x01, *range(0xD0, 0xD9)}
"""Markers without a length: stuffing, TEM, restarts and start of image."""
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL_FRAMES = {0xC0, 0xC1}
_MARK = 0xFF
_CMYK_CHANNELS = 4
_UNUSUAL_SAMPLING = "Could not determine subsampling"


def read_header(data: bytes) -> ImageHeader:
    """Read size, components and EXIF orientation up to the first scan.

    Raises:
        ImageError: there is no frame header, or no scan after it.
    """
    frame: tuple[int, int, int] | None = None
    orientation: int | None = None
    for marker, start, length in _segments(data):
        if marker in _FRAMES and frame is None:
            frame = struct.unpack_from(">HHB", data, start + 3)
        elif marker == _APP1 and orientation is None:
            segment = data[start + 2 : start + length]
            if segment.startswith(b"Exif\0\0"):
                orientation = read_orientation(segment)
    if frame is None:
        raise ImageError("corrupt JPEG: pixel data before any frame header")
    height, width, num_channels = frame
    return ImageHeader(
        format="JPEG",
        width=width,
        height=height,
        orientation=orientation or UPRIGHT,
        num_channels=num_channels,
    )


def decode(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    """Decode every pixel or none.

    Returns:
        RGB as stored, without orientation; equal to ``cv2.imdecode`` bit for bit.

    Raises:
        ImageError: libjpeg had to guess a pixel, or cannot decode this kind of JPEG.
    """
    is_cmyk = header.num_channels == _CMYK_CHANNELS
    pixels = None
    try:
        pixels = _decode_strictly(data, "CMYK" if is_cmyk else "RGB")
    except ValueError as error:
        if not _has_end(data):
            raise ImageError(
                f"truncated JPEG: {len(data)} bytes, no end-of-image marker"
            ) from error
        if _UNUSUAL_SAMPLING not in str(error):
            reason = str(error).removeprefix("Corrupt JPEG data: ")
            raise ImageError(f"corrupt JPEG: {reason}") from error
    if is_cmyk or pixels is None:
        # TurboJPEG, which simplejpeg calls, converts neither CMYK nor unusual chroma sampling.
        pixels = opencv.decode(data)
    if pixels is None:
        raise ImageError("corrupt JPEG: the decoder finds no image in it")
    return pixels


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    # Marker, offset of its two length bytes, and that length; the start of scan is the last.
    position = 2
    marker = 0
    while marker != _START_OF_SCAN:
        position = data.find(b"\xff", position)
        while 0 <= position < len(data) and data[position] == _MARK:
            position += 1
        if position < 0 or position + 3 > len(data):
            raise ImageError(f"truncated JPEG: {len(data)} bytes end before any pixel data")
        marker = data[position]
        position += 1
        if marker in _STANDALONE:
            continue
        if marker == _END_OF_IMAGE:
            raise ImageError(f"corrupt JPEG: end-of-image marker at byte {position - 2}, no pixels")
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, position, length
        position += length


def _decode_strictly(data: bytes, colorspace: str) -> npt.NDArray[np.uint8]:
    try:
        return simplejpeg.decode_jpeg(data, colorspace, strict=True)
    except ValueError as error:
        mended = _mend_header(data, str(error))
        if mended is None:
            raise
    return simplejpeg.decode_jpeg(mended, colorspace, strict=True)


def _mend_header(data: bytes, warning: str) -> bytes | None:
    """Correct a header field that libjpeg warns about and ignores; no pixel depends on it.

    The strict decoder stops at its first warning, which would hide damage behind it.
    """
    mended = bytearray(data)
    frame = 0
    for marker, start, length in _segments(data):
        frame = marker if marker in _FRAMES else frame
        if "unknown JFIF revision" in warning and marker == _APP0:
            mended[start + 7] = 1
            return bytes(mended)
        if "Invalid SOS parameters" in warning and marker == _START_OF_SCAN:
            # Some phones write zeros where a sequential scan says 0 to 63.
            if frame not in _SEQUENTIAL_FRAMES:
                return None
            mended[start + length - 3 : start + length] = b"\x00\x3f\x00"
            return bytes(mended)
    return None


def _has_end(data: bytes) -> bool:
    """Say whether an end-of-image marker follows the first scan, unlike a thumbnail's marker."""
    scan = max(start for _, start, _ in _segments(data))
    return data.find(b"\xff\xd9", scan) >= 0
