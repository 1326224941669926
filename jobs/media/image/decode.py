"""The one function that turns an image's bytes into pixels: decoded whole, upright, RGB.

Content decides the format, never the file's name. The size is read from the header and checked
against a limit before anything is allocated. Many threads may decode at once; the decoders release
the interpreter lock.
"""

import numpy as np
import numpy.typing as npt

from fcos_core.errors import ImageError
from jobs.media.image.formats import jpeg, png
from jobs.media.image.headers import FORMATS, read_header, report_truncation
from jobs.media.image.orientation import turn_upright
from jobs.media.limits import MAX_PIXELS

_NOTING = {"JPEG": jpeg.decode_noting, "PNG": png.decode_noting}
"""The formats whose decoders tell harmless damage."""


def decode_image(data: bytes, *, place: str, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode an image: JPEG, PNG, WebP, BMP, TIFF or GIF; of an animation, the first frame.

    An image is decoded if all its pixels are in the file and pass the checks that its format has;
    damage elsewhere does not count (``docs/decisions/decoding.md``).

    JPEG pixels equal ``cv2.imdecode``'s bit for bit. Grey, palette and CMYK become RGB. Alpha is
    dropped without blending, as ``cv2.IMREAD_COLOR`` does (TIFF's is multiplied in). Of 16 bits
    the upper 8 are kept (TIFF's colours are rounded).

    Args:
        data: the whole file.
        place: uri of the image, for errors.
        max_pixels: the largest width times height that is decoded.

    Returns:
        Height x width x 3, RGB, C-contiguous, upright by EXIF orientation.

    Raises:
        ImageError: the bytes are no image, or it is truncated, corrupt, too large or not supported.
    """
    return decode_noting(data, place=place, max_pixels=max_pixels)[0]


def decode_noting(
    data: bytes, *, place: str, max_pixels: int = MAX_PIXELS
) -> tuple[npt.NDArray[np.uint8], str | None]:
    """Decode as ``decode_image``, and say what damage was found that no pixel depends on.

    Returns:
        The pixels; and one line, or None where there is no damage, or the format has no checks.

    Raises:
        ImageError: as ``decode_image``.
    """
    try:
        return _decode(data, max_pixels)
    except ImageError as error:
        raise ImageError(f"{place}: {error}") from error


def image_size(data: bytes, *, place: str) -> tuple[int, int]:
    """Read height and width, upright, from an image's header; damage behind it does not matter.

    Raises:
        ImageError: the header is missing or damaged; the message names ``place``.
    """
    try:
        return read_header(data).upright_size
    except ImageError as error:
        raise ImageError(f"{place}: {error}") from error


def _decode(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], str | None]:
    header = read_header(data)
    num_pixels = header.width * header.height
    if num_pixels > max_pixels:
        raise ImageError(
            f"{header.width} x {header.height} = {num_pixels} pixels, limit {max_pixels}"
        )
    with report_truncation("pixel data", data, header.format):
        noting = _NOTING.get(header.format)
        if noting is None:
            pixels, note = FORMATS[header.format].decode(data, header), None
        else:
            pixels, note = noting(data, header)
    if header.format != "TIFF":
        pixels = turn_upright(pixels, header.orientation)
    if pixels.shape[:2] != header.upright_size:
        raise ImageError(
            f"corrupt {header.format}: decodes to (height, width) {pixels.shape[:2]}, "
            f"its header says {header.upright_size}"
        )
    return pixels, note
