"""The only call of Pillow's decoders: for BMP and TIFF that OpenCV alone does not decode whole."""

import io
import logging
import struct
import warnings

from PIL import Image
from PIL.ImageFile import ImageFile

from fcos_core.errors import one_line

_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError),
    *(struct.error, RuntimeError, AttributeError),
)
"""What Pillow raises for files it does not support; OSError for damaged pixels, too."""

# Pillow would warn of each odd tag of each file, and log what it does not support.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)


def load(kind: type[ImageFile], data: bytes, width: int, height: int) -> Image.Image:
    """Decode an image whole.

    Args:
        kind: Pillow's class for the format.
        data: the whole file.
        width: as stored; it was checked against our limit, so that Pillow's does not count, which
            is a global of the process.
        height: likewise.

    Returns:
        The image in one of Pillow's modes; TIFF comes upright.

    Raises:
        NotImplementedError: Pillow does not support this kind of image.
        OSError: the pixel data is truncated, does not unpack, or is of a kind that only the
            decoder notices that it does not support.
    """
    try:
        image = kind(io.BytesIO(data))
        if sorted(image.size) != sorted((width, height)):
            raise NotImplementedError(f"Pillow finds a size of {image.size}")
        image.im = Image.new(image.mode, (width, height)).im
    except _ERRORS as error:
        raise NotImplementedError(one_line(error)) from error
    try:
        image.load()
    except OSError as error:
        raise OSError(one_line(error)) from error
    except _ERRORS as error:
        raise NotImplementedError(one_line(error)) from error
    return image
