"""An image of the page, shown small, which the reader can enlarge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A drawn image, as the macro ``thumbnails`` shows it.

    Attributes:
        jpeg: its bytes.
        width: pixels.
        height: pixels.
        caption: its name.
        about: what can be seen on it, in words.
    """

    jpeg: bytes
    width: int
    height: int
    caption: str
    about: str
