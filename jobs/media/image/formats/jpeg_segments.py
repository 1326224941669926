"""JPEG's segments: the marker of each, and where it begins and ends."""

import re
from collections.abc import Iterator
from typing import NamedTuple

START_OF_IMAGE = b"\xff\xd8"
APP0, APP1, ADOBE = 0xE0, 0xE1, 0xEE
HUFFMAN, QUANTISATION, START_OF_SCAN, END_OF_IMAGE = 0xC4, 0xDB, 0xDA, 0xD9
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SEQUENTIAL_FRAMES = {0xC0, 0xC1}

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Any but those without a length (stuffing, TEM, restarts, start of image) and fill bytes."""


class Segment(NamedTuple):
    """A segment; behind a start of scan lie entropy-coded data, up to the next segment."""

    marker: int
    begin: int
    """Offset of the marker."""
    start: int
    """Offset of the two length bytes."""
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """Find the segments behind the start of image; the last is the end of image, if any.

    Yields:
        A segment, whose end may lie behind the last byte.
    """
    position = len(START_OF_IMAGE)
    marker = 0
    while marker != END_OF_IMAGE and (match := _MARKER.search(data, position)):
        begin, start = match.span()
        marker, position = data[start - 1], start
        if marker != END_OF_IMAGE:
            if start + 2 > len(data):
                return
            position += int.from_bytes(data[start : start + 2], "big")
        yield Segment(marker, begin, start, position)
