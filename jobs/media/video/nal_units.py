"""The units of an H.264 or HEVC packet, and the messages in its SEI (supplemental information).

Source: ITU-T H.264 and H.265, section 7.3 and annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_AVCC, _HVCC = 1, 1  # first byte of extradata where units have a length in front
_START_CODE = b"\x00\x00\x01"
_MORE = 255  # in the kind or size of a message: and the next byte too
_NEEDS_ESCAPE = re.compile(rb"\x00\x00(?=[\x00-\x03])")


def nal_length_size(codec: str, extradata: bytes | None) -> int | None:
    """Give the bytes of the length in front of each unit; None where start codes divide them."""
    at, mark = (4, _AVCC) if codec == "h264" else (21, _HVCC)
    if extradata is None or len(extradata) <= at or extradata[0] != mark:
        return None
    return (extradata[at] & 3) + 1


def nal_units(data: memoryview, length_size: int | None) -> Iterator[memoryview]:
    """Find a packet's units, without what divides them.

    Yields:
        Each unit, a view of the data.
    """
    if length_size is None:
        yield from _units_by_start_code(data)
        return
    place = 0
    while place + length_size < len(data):
        size = int.from_bytes(data[place : place + length_size], "big")
        place += length_size
        if not size:
            return
        yield data[place : place + size]
        place += size


def rbsp(unit: memoryview) -> bytes:
    """Undo the escapes of a unit's bytes."""
    return bytes(unit).replace(b"\x00\x00\x03", b"\x00\x00")


def escaped(payload: bytes) -> bytes:
    """Put escapes where the bytes look like a start code."""
    return _NEEDS_ESCAPE.sub(b"\x00\x00\x03", payload)


def exp_golomb(data: bytes) -> int | None:
    """Read the Exp-Golomb code with which the bytes begin; None if it is cut short."""
    bits = "".join(f"{byte:08b}" for byte in data)
    zeros = len(bits) - len(bits.lstrip("0"))
    code = bits[zeros : 2 * zeros + 1]
    return int(code, 2) - 1 if len(code) == zeros + 1 else None


def sei_messages(payload: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Read the messages of an SEI unit, up to the first that is longer than the unit.

    Args:
        payload: the unit without its header and escapes.

    Yields:
        Each message: its kind, its content, and all of its bytes.
    """
    end = len(payload.rstrip(b"\x00")) - 1  # the last byte holds the bit that ends a unit
    place = 0
    while place + 1 < end:
        start = place
        kind, place = _number(payload, place)
        size, place = _number(payload, place)
        if place + size > end:
            return
        yield kind, payload[place : place + size], payload[start : place + size]
        place += size


def _number(payload: bytes, place: int) -> tuple[int, int]:
    value = 0
    while place < len(payload) and payload[place] == _MORE:
        value, place = value + _MORE, place + 1
    return value + (payload[place] if place < len(payload) else 0), place + 1


def _units_by_start_code(data: memoryview) -> Iterator[memoryview]:
    searched = bytes(data)
    place = searched.find(_START_CODE)
    while place >= 0:
        end = searched.find(_START_CODE, place + 3)
        yield data[place + 3 : end if end >= 0 else len(data)]
        place = end
