"""An image of a page, shown small; a click enlarges it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A JPEG, as the macro ``thumbnails`` shows it; its description says in words what it shows."""

    jpeg: bytes
    width: int
    height: int
    caption: str
    description: str
