"""An image at the size of a drawing, with the scale of the network's input on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from jobs.media.drawing.colors import Pixels, dimmed
from jobs.media.drawing.outlines import Corners

_FAR_PX = 2**15  # larger than any image is drawn


@dataclass(frozen=True)
class View:
    """A resized image to draw on, which drawing changes.

    The scales are its pixels per pixel of the network's input, along a row and along a column.
    """

    pixels: Pixels
    scale_x: float
    scale_y: float

    @classmethod
    def of(cls, image: Pixels, input_shape: tuple[int, int], max_shape: tuple[int, int]) -> View:
        """Resize an image to the largest size that fits; the given one is not changed.

        ``input_shape`` is its height and width in the network's input, without padding.
        """
        height, width = fitted(image.shape[:2], max_shape)
        method = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
        pixels = cast("Pixels", cv2.resize(image, (width, height), interpolation=method))
        return cls(pixels, width / input_shape[1], height / input_shape[0])

    def dimmed(self) -> View:
        """Return the same view in dark grey, with its own pixels."""
        return replace(self, pixels=dimmed(self.pixels))

    def point(self, x: float, y: float) -> tuple[int, int]:
        """Return the pixel in which a point of the network's input lies."""
        return int(np.floor(x * self.scale_x)), int(np.floor(y * self.scale_y))

    def corners(self, box: npt.NDArray[np.floating]) -> Corners:
        """Return the pixels of a box's corners; a side on the image's end is moved inside.

        Corners far outside are moved nearer, since OpenCV cannot draw lines of billions of pixels.
        """
        height, width = self.pixels.shape[:2]
        x_min, y_min, x_max, y_max = (
            min(max(value, -_FAR_PX), _FAR_PX)
            for value in (*self.point(box[0], box[1]), *self.point(box[2], box[3]))
        )
        return (
            x_min if x_min != width else width - 1,
            y_min if y_min != height else height - 1,
            x_max if x_max != width else width - 1,
            y_max if y_max != height else height - 1,
        )


def fitted(shape: tuple[int, int], max_shape: tuple[int, int]) -> tuple[int, int]:
    """Return the largest height and width with the aspect of an image that fit into others."""
    height, width = shape
    factor = min(max_shape[0] / height, max_shape[1] / width)
    return max(1, round(height * factor)), max(1, round(width * factor))
