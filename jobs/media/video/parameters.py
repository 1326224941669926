"""Parameters that a stream may send once, and that its decoder keeps over key frames.

These are the parameter sets of H.264 and HEVC, the headers of MPEG-1, MPEG-2 and MPEG-4, and the
tables of Motion JPEG. A decoder that begins midway knows those in the container and up to the first
key frame, and those beside the key frame at which it begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from jobs.media.video.nal_units import exp_golomb, nal_length_size, nal_units, rbsp
from jobs.media.video.source import Packet

_H264_LAST_SLICE, _H264_SPS, _H264_PPS = 5, 7, 8
_HEVC_LAST_SLICE, _HEVC_SPS, _HEVC_PPS = 31, 33, 34
_HEVC_SETS = range(32, 35)
_ID_BYTES = 16  # an identifier lies in so many bytes
_MPEG12_HEADER = re.compile(rb"\x00\x00\x01(?:\x00|(\xb3.*?)(?=\x00\x00\x01))", re.DOTALL)
_MPEG4_HEADER = re.compile(rb"\x00\x00\x01(?:\xb6|([\x20-\x2f].*?)(?=\x00\x00\x01))", re.DOTALL)
_JPEG_TABLES, _JPEG_SCAN, _JPEG_FILL = (0xC4, 0xDB), 0xDA, 0xFF

Parameter = tuple[tuple[int, int], bytes]  # its kind and identifier, and its content
Finder = Callable[[memoryview], Iterator[Parameter]]


class ParameterChanges:
    """Finds whether a decoder that begins at a key frame lacks parameters of packets before."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._find = _finder(codec, extradata)
        self._extradata = extradata or b""
        self._at_start: dict[tuple[int, int], bytes] = {}
        self._has_begun = False
        self._changed: set[tuple[int, int]] = set()

    def is_needed(self, packet: Packet, *, is_entry: bool) -> bool:
        """Take the next packet; tell whether decoding can not begin here because of a change."""
        if self._find is None:
            return False
        here = dict(self._find(memoryview(packet)))
        if not self._has_begun:
            self._at_start |= here
            self._has_begun = packet.is_keyframe
            return False
        for name, content in here.items():
            known = self._at_start.get(name)
            is_known = content in self._extradata if known is None else content == known
            (self._changed.discard if is_known else self._changed.add)(name)
        return is_entry and not self._changed <= here.keys()


def _finder(codec: str, extradata: bytes | None) -> Finder | None:
    length = nal_length_size(codec, extradata)
    if codec == "h264":
        return lambda data: _h264_sets(data, length)
    if codec == "hevc":
        return lambda data: _hevc_sets(data, length)
    if codec in {"mpeg1video", "mpeg2video"}:
        return lambda data: _headers(data, _MPEG12_HEADER)
    if codec == "mpeg4":
        return lambda data: _headers(data, _MPEG4_HEADER)
    return _jpeg_tables if codec == "mjpeg" else None


def _h264_sets(data: memoryview, length_size: int | None) -> Iterator[Parameter]:
    for unit in nal_units(data, length_size):
        kind = unit[0] & 31 if unit else 0
        if 0 < kind <= _H264_LAST_SLICE:
            return
        if kind in {_H264_SPS, _H264_PPS}:
            start = 4 if kind == _H264_SPS else 1
            number = exp_golomb(rbsp(unit[start : start + _ID_BYTES])) or 0
            yield (kind, number), bytes(unit).rstrip(b"\x00")


def _hevc_sets(data: memoryview, length_size: int | None) -> Iterator[Parameter]:
    for unit in nal_units(data, length_size):
        kind = unit[0] >> 1 & 63 if unit else _HEVC_LAST_SLICE + 1
        if unit and kind <= _HEVC_LAST_SLICE:
            return
        if kind in _HEVC_SETS and len(unit) > 2:  # noqa: PLR2004 -- its header
            yield (kind, _hevc_id(kind, unit)), bytes(unit).rstrip(b"\x00")


def _hevc_id(kind: int, unit: memoryview) -> int:
    if kind == _HEVC_PPS:
        return exp_golomb(rbsp(unit[2 : 2 + _ID_BYTES])) or 0
    if kind != _HEVC_SPS:
        return unit[2] >> 4
    content = rbsp(unit[2:])
    num_more_layers = content[0] >> 1 & 7
    start = 13
    if num_more_layers:  # two bits each, for 88 bits of a profile and 8 of a level
        flags = f"{int.from_bytes(content[start : start + 2], 'big'):016b}"[: 2 * num_more_layers]
        start += 2 + 11 * flags[::2].count("1") + flags[1::2].count("1")
    return exp_golomb(content[start : start + _ID_BYTES]) or 0


def _headers(data: memoryview, pattern: re.Pattern[bytes]) -> Iterator[Parameter]:
    # The pattern finds a header or, without a group, the frame that ends them.
    for found in pattern.finditer(data):
        header: bytes | None = found[1]
        if header is None:
            return
        yield (header[0], 0), header.rstrip(b"\x00")


def _jpeg_tables(data: memoryview) -> Iterator[Parameter]:
    place = 2
    while place + 4 < len(data) and data[place] == _JPEG_FILL and data[place + 1] != _JPEG_SCAN:
        marker, size = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _JPEG_TABLES:
            yield (marker, data[place + 4]), bytes(data[place + 4 : place + 2 + size])
        place += 1 if marker == _JPEG_FILL else 2 + size
