"""A JPEG without the oddities that libjpeg warns about though no pixel depends on them.

The strict decoder stops at its first warning, which would hide damage behind it. What is mended
here is decoded strictly in turn, so damage of the pixels is still found.
"""

import re
from functools import cache

import numpy as np
import simplejpeg

from jobs.media.image.formats.jpeg_segments import (
    ADOBE,
    APP0,
    END_OF_IMAGE,
    FRAMES,
    HUFFMAN,
    QUANTISATION,
    SEQUENTIAL_FRAMES,
    START_OF_IMAGE,
    START_OF_SCAN,
    segments,
)

_FILL, _PADDING = b"\xff", b"\0"
_WHOLE_SPECTRUM = b"\x00\x3f\x00"
"""The end of a sequential scan's header: coefficients 0 to 63, in full precision."""
_NUM_COEFFICIENTS = 64
_LOW_BITS = 0x0F
_TABLES = {HUFFMAN, QUANTISATION}
_NUM_CODE_LENGTHS = 16
_LAST_TABLE = 3
"""Largest number of a quantisation table, with which a frame header ends."""
_LAST_TRANSFORM = 2
"""Largest number of a colour transform, with which Adobe's segment ends."""
_NAMED = re.compile(rb"Adobe|Exif\0\0")
"""Segments of colour transform and orientation, should their markers be lost."""
_JFIF_VERSION = 9


def mend(data: bytes) -> bytes | None:
    """Correct or leave out what no pixel depends on.

    That is a JFIF version that does not exist, the unused parameters of a sequential scan (some
    phones write zeros), stray bytes between the segments of the header, zeros behind a scan (some
    cameras pad their files) and the lack of an end-of-image marker.

    Returns:
        The mended file; None where there is nothing to mend, or a pixel may depend on it.
    """
    mended = bytearray(START_OF_IMAGE)
    position, marker = len(mended), 0
    content, frame = b"", b"\0\0"
    precise: set[tuple[int, int]] = set()
    has_strays = False
    for segment in segments(data):
        gap = data[position : segment.begin]
        scan = _entropy_coded(gap) if marker == START_OF_SCAN else b""
        stray = gap[len(scan) :]
        if _may_matter(stray, content, is_behind_scan=bool(precise)):
            return None
        has_strays |= bool(stray)
        marker, position = segment.marker, segment.end
        content = data[segment.begin : position]
        if marker in FRAMES:
            frame = content
        elif marker == START_OF_SCAN:
            if frame[1] in SEQUENTIAL_FRAMES:
                content = content[: -len(_WHOLE_SPECTRUM)] + _WHOLE_SPECTRUM
            precise |= _coded_precisely(content)
        elif marker == APP0 and content[4:_JFIF_VERSION] == b"JFIF\0":
            content = content[:_JFIF_VERSION] + b"\1" + content[_JFIF_VERSION + 1 :]
        mended += scan + content
    is_cut = marker != END_OF_IMAGE
    if is_cut:
        if marker != START_OF_SCAN:
            return None
        mended += _entropy_coded(data[position:]) + bytes((_FILL[0], END_OF_IMAGE))
    if (is_cut or has_strays) and not _all_coefficients(frame) <= precise:
        return None
    return None if bytes(mended) == data else bytes(mended)


def _entropy_coded(gap: bytes) -> bytes:
    """Leave out what pads a scan. Where pixels need it, the strict decoder misses it."""
    scan = gap.rstrip(_FILL).rstrip(_PADDING)
    return scan + _PADDING if scan.endswith(_FILL) else scan


def _may_matter(stray: bytes, before: bytes, *, is_behind_scan: bool) -> bool:
    """Say whether bytes between segments may be part of the image.

    A damaged marker makes its whole segment stray: a table or a colour transform, which libjpeg
    replaces by defaults, or a scan that refines the ones before it. Bytes inserted into a segment
    make its end stray, and the pixels wrong.

    Args:
        stray: the bytes.
        before: the segment before them.
        is_behind_scan: whether a scan is before them.
    """
    visible = stray.rstrip(_FILL)
    if not visible.strip(_PADDING):
        return False
    length = int.from_bytes(stray[2:4], "big")
    is_segment = len(visible) <= 2 + length <= len(stray)
    if is_behind_scan or is_segment or _NAMED.search(stray):
        return True
    marker = before[1] if before else 0
    if marker in FRAMES:
        return visible[-1] <= _LAST_TABLE
    if marker == ADOBE:
        return visible[-1] <= _LAST_TRANSFORM
    return marker in _TABLES and not _tables(before) <= _usual_tables()


def _tables(segment: bytes) -> set[bytes]:
    """Split a segment of tables, and leave out what only says how they are used."""
    tables: set[bytes] = set()
    position = 4
    while position < len(segment):
        start = position + 1
        size = _NUM_COEFFICIENTS
        if segment[1] == HUFFMAN:
            size = _NUM_CODE_LENGTHS + sum(segment[start : start + _NUM_CODE_LENGTHS])
        position = start + size
        tables.add(segment[start:position])
    return tables


@cache
def _usual_tables() -> frozenset[bytes]:
    """Make the tables that libjpeg writes, of every quality: one of these is surely undamaged."""
    tables: set[bytes] = set()
    for quality in range(1, 101):
        data = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8), quality)
        for segment in segments(data):
            if segment.marker in _TABLES:
                tables |= _tables(data[segment.begin : segment.end])
    return frozenset(tables)


def _coded_precisely(scan: bytes) -> set[tuple[int, int]]:
    """Give the component and index of each coefficient whose last bit is in a scan."""
    components = scan[5 : 5 + 2 * scan[4] : 2]
    first, last, precision = scan[-3:]
    if precision & _LOW_BITS:
        return set()
    return {(component, k) for component in components for k in range(first, last + 1)}


def _all_coefficients(frame: bytes) -> set[tuple[int, int]]:
    return {(component, k) for component in frame[10::3] for k in range(_NUM_COEFFICIENTS)}
