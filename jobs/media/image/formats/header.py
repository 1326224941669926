"""The fields that are read from the header of every image format."""

from dataclasses import dataclass
from typing import Literal

ImageFormat = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"]

_SIDEWAYS = {5, 6, 7, 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """Format, size and orientation of an image, read without decoding.

    Attributes:
        format: format of the content; the file's name does not count.
        width: pixels per row as stored, before orientation.
        height: rows as stored, before orientation.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        num_channels: colour components as stored, where the format's decoder depends on it.
    """

    format: ImageFormat
    width: int
    height: int
    orientation: int = 1
    num_channels: int = 3

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in pixels once orientation is applied."""
        if self.orientation in _SIDEWAYS:
            return self.width, self.height
        return self.height, self.width
