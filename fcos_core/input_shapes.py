"""The shape of the network's input for an image's size; no torch, since a plan is made without it.

The rounding is torchvision's (``models/detection/transform.py``).
"""

import math

from fcos_core.config import InputConfig


def resized_shape(height: int, width: int, config: InputConfig) -> tuple[int, int]:
    """Height and width after resizing, rounded down as torch's ``interpolate`` does."""
    factor = min(config.min_size_px / min(height, width), config.max_size_px / max(height, width))
    return max(1, math.floor(height * factor)), max(1, math.floor(width * factor))


def padded_shape(height: int, width: int, config: InputConfig) -> tuple[int, int]:
    """Height and width of the network's input for an image of this size."""
    rows, columns = resized_shape(height, width, config)
    divisor = config.size_divisor
    return -(-rows // divisor) * divisor, -(-columns // divisor) * divisor
