"""An image of a page, shown small; a click enlarges it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A drawn image, as the macro ``thumbnails`` shows it.

    Attributes:
        jpeg: the file's content.
        width: in pixels.
        height: in pixels.
        caption: name of the image, and the frame of a video.
        description: what the thumbnail shows, in words.
    """

    jpeg: bytes
    width: int
    height: int
    caption: str
    description: str
