"""Encodes drawn images as JPEG."""

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from jobs.media.drawing.colors import Pixels

_QUALITY = 92


def encode_jpeg(pixels: Pixels, *, quality: int = _QUALITY, has_full_color: bool = False) -> bytes:
    """Encode an image as JPEG.

    Args:
        pixels: RGB.
        quality: 0..100.
        has_full_color: whether colour keeps the resolution of brightness, for thin coloured lines;
            otherwise it has half of it, as usual.
    """
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if has_full_color:
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)
    return cast("npt.NDArray[np.uint8]", data).tobytes()
