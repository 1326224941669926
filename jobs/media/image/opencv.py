"""The only call of OpenCV's decoders: RGB pixels as stored, and no messages on stderr."""

import os

import cv2
import numpy as np
import numpy.typing as npt

_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION

if "OPENCV_LOG_LEVEL" not in os.environ:
    # OpenCV would log each image that we report as an error: thousands in a bad data set.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Decode the first frame to 8 bits RGB, C-contiguous; None when OpenCV cannot.

    A palette is looked up, grey becomes three equal channels, of 16 bits the upper 8 are kept.
    Alpha is dropped without blending, as ``cv2.IMREAD_COLOR`` does; only TIFF's is multiplied in
    (libtiff does that). TIFF comes upright, the other formats as stored.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error:
        return None
    return None if pixels is None else np.ascontiguousarray(pixels, np.uint8)
