r"""EXIF orientation: reads it from a block of metadata, and turns pixels upright.

We apply it ourselves because OpenCV 5 ignores it in a WebP whose block begins with ``Exif\0\0``,
as many programs write it.
"""

import struct

import cv2
import numpy as np
import numpy.typing as npt

UPRIGHT = 1
_LARGEST = 8
_TAG = 0x0112
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_ENTRY_BYTES = 12
_VALUE_FORMATS = {1: "B", 3: "H", 4: "I"}
"""TIFF's BYTE, SHORT and LONG; the standard says SHORT, writers vary."""


def read_orientation(block: bytes) -> int:
    r"""Find the orientation in an EXIF block.

    Args:
        block: a TIFF structure, with or without the six bytes ``Exif\0\0`` before it.

    Returns:
        1 to 8; 1 when the block has none, is damaged or holds another number. Viewers show such
        an image as it is stored, and so do we.
    """
    block = block.removeprefix(b"Exif\0\0")
    byte_order = _BYTE_ORDERS.get(block[:2])
    if byte_order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(byte_order + "I", block, 4)
        (num_entries,) = struct.unpack_from(byte_order + "H", block, directory)
        for index in range(num_entries):
            entry = directory + 2 + index * _ENTRY_BYTES
            tag, kind = struct.unpack_from(byte_order + "HH", block, entry)
            if tag == _TAG and kind in _VALUE_FORMATS:
                (value,) = struct.unpack_from(byte_order + _VALUE_FORMATS[kind], block, entry + 8)
                return value if UPRIGHT <= value <= _LARGEST else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT


def turn_upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Rotate and mirror stored pixels by EXIF orientation; the result is C-contiguous."""
    turned: cv2.typing.MatLike = pixels
    match orientation:
        case 2:
            turned = cv2.flip(pixels, 1)
        case 3:
            turned = cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(pixels, 0)
        case 5:
            turned = cv2.transpose(pixels)
        case 6:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180)
        case 8:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            pass
    return np.ascontiguousarray(turned, np.uint8)
