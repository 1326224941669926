"""JPEG: its header, and a decoder that refuses damaged data instead of making it grey.

OpenCV returns pixels for many corrupt JPEGs and only prints libjpeg's warning. simplejpeg calls the
same libjpeg-turbo, gives the same pixels (a test compares them) and raises on every warning.
"""

import struct

import numpy as np
import numpy.typing as npt
import simplejpeg

from fcos_core.errors import ImageError
from jobs.media.image import opencv
from jobs.media.image.formats.header import ImageHeader
from jobs.media.image.formats.jpeg_mending import mend
from jobs.media.image.formats.jpeg_segments import (
    APP1,
    END_OF_IMAGE,
    FRAMES,
    START_OF_SCAN,
    segments,
)
from jobs.media.image.orientation import UPRIGHT, read_orientation

MAGICS = (b"\xff\xd8\xff",)

_CMYK_CHANNELS = 4
_MAX_SCANS = 500
"""A scan of a few bytes costs a pass over the whole image; encoders write about ten."""
_MENDED = (
    "JPEG with stray bytes, an unusual header or no end-of-image marker; no pixel depends on it"
)
_UNUSUAL_SAMPLING = "Could not determine subsampling"


def read_header(data: bytes) -> ImageHeader:
    """Read size, components and EXIF orientation up to the first scan.

    Raises:
        ImageError: there is no frame header, or no scan after it.
    """
    frame: tuple[int, int, int] | None = None
    orientation: int | None = None
    for segment in segments(data):
        if segment.marker in FRAMES and frame is None:
            frame = struct.unpack_from(">HHB", data, segment.start + 3)
        elif segment.marker == APP1 and orientation is None:
            content = data[segment.start + 2 : segment.end]
            if content.startswith(b"Exif\0\0"):
                orientation = read_orientation(content)
        elif segment.marker == START_OF_SCAN:
            break
        elif segment.marker == END_OF_IMAGE:
            begin = segment.begin
            raise ImageError(f"corrupt JPEG: end-of-image marker at byte {begin}, no pixels")
    else:
        raise ImageError(f"truncated JPEG: {len(data)} bytes end before any pixel data")
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
    """Decode as ``decode_noting``, whose note is left out."""
    return decode_noting(data, header)[0]


def decode_noting(data: bytes, header: ImageHeader) -> tuple[npt.NDArray[np.uint8], str | None]:
    """Decode every pixel or none.

    Returns:
        RGB as stored, without orientation; equal to ``cv2.imdecode`` bit for bit. And a note where
        the file is damaged, or odd, where no pixel depends on it.

    Raises:
        ImageError: libjpeg had to guess a pixel, cannot decode this kind of JPEG, or there are
            too many scans.
    """
    # The count of the marker's bytes is quick, and never too small.
    if data.count(bytes((0xFF, START_OF_SCAN))) > _MAX_SCANS:
        num_scans = sum(segment.marker == START_OF_SCAN for segment in segments(data))
        if num_scans > _MAX_SCANS:
            raise ImageError(f"JPEG of {num_scans} scans, limit {_MAX_SCANS}")
    is_cmyk = header.num_channels == _CMYK_CHANNELS
    pixels, original = None, data
    try:
        data, pixels = _decode_strictly(data, "CMYK" if is_cmyk else "RGB")
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
    return pixels, None if data is original else _MENDED


def _decode_strictly(data: bytes, colorspace: str) -> tuple[bytes, npt.NDArray[np.uint8]]:
    # Gives the bytes that decode without a warning, too.
    try:
        return data, simplejpeg.decode_jpeg(data, colorspace, strict=True)
    except ValueError:
        mended = mend(data)
        if mended is None:
            raise
    return mended, simplejpeg.decode_jpeg(mended, colorspace, strict=True)


def _has_end(data: bytes) -> bool:
    """Say whether an end-of-image marker follows the first scan, unlike a thumbnail's marker."""
    scan = next(segment.start for segment in segments(data) if segment.marker == START_OF_SCAN)
    return data.find(b"\xff\xd9", scan) >= 0
