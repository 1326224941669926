"""Whether a packet becomes a frame, and whether decoding can begin there.

The container's key frame flag is not enough. In H.264 a flagged frame may only begin a gradual
refresh, and frames after a plain I frame may refer to frames before it. So the codec's own marks
are read from the packet's first bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jobs.media.video.nal_units import exp_golomb, nal_length_size, nal_units, rbsp, sei_messages
from jobs.media.video.source import Packet

_H264_SLICE, _H264_IDR, _H264_SEI = 1, 5, 6
_SEI_RECOVERY_POINT = 6
_HEVC_FIRST_IRAP, _HEVC_LAST_IRAP, _HEVC_LAST_VCL = 16, 21, 31
_VP9 = frozenset(("vp9", "libvpx-vp9"))

_TRUSTED_FLAGS = frozenset(
    (
        *("av1", "libdav1d", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg", "prores", "dnxhd"),
        *("ffv1", "huffyuv", "ffvhuff", "utvideo", "png", "rawvideo", "theora"),
    )
)
"""Codecs whose flagged key frames need nothing before them."""


class PacketReader:
    """Reads the codec's marks in a stream's packets."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec = codec
        self._can_begin = _entry_point_test(codec, extradata)

    def is_entry(self, packet: Packet) -> bool:
        """Whether decoding can begin here."""
        return packet.is_keyframe and self._can_begin(memoryview(packet))

    def is_shown(self, packet: Packet) -> bool:
        """Whether the packet becomes a frame: an edit list may cut it, the codec may hide it."""
        if packet.is_discard:
            return False
        return self._codec not in _VP9 or not _is_hidden_vp9(memoryview(packet))


def _entry_point_test(codec: str, extradata: bytes | None) -> Callable[[memoryview], bool]:
    """Make the test, by a packet's bytes, for whether decoding can begin at a flagged key frame."""
    if codec == "h264":
        length = nal_length_size(codec, extradata)
        return lambda data: _is_h264_entry(nal_units(data, length))
    if codec == "hevc":
        length = nal_length_size(codec, extradata)
        return lambda data: _is_hevc_entry(nal_units(data, length))
    if codec in _VP9:
        return lambda data: _vp9_frame_type(data) == "key"
    if codec in {"vp8", "libvpx"}:
        return lambda data: not data[0] & 1
    if codec in _TRUSTED_FLAGS:
        return lambda _: True
    return lambda _: False


def _is_hidden_vp9(data: memoryview) -> bool:
    is_superframe = data[-1] & 0xE0 == 0xC0  # noqa: PLR2004 -- its marker; one of its frames is shown
    return not is_superframe and _vp9_frame_type(data) == "hidden"


def _vp9_frame_type(data: memoryview) -> str:
    """Read the first bits of a VP9 frame: ``key``, ``shown``, ``hidden`` or ``repeated``."""
    bits = f"{int.from_bytes(data[:2], 'big'):016b}"
    place = 4 if bits[2:4] != "11" else 5  # profile 3 has one reserved bit more
    if bits[place] == "1":
        return "repeated"
    if bits[place + 2] == "0":
        return "hidden"
    return "key" if bits[place + 1] == "0" else "shown"


def _is_h264_entry(units: Iterator[memoryview]) -> bool:
    recovers_at_once = False
    for unit in units:
        kind = unit[0] & 31 if unit else 0
        if kind == _H264_SEI:
            recovers_at_once |= _recovery_frames(rbsp(unit[1:])) == 0
        if kind == _H264_IDR:
            return True
        if kind == _H264_SLICE:
            return recovers_at_once
    return False


def _is_hevc_entry(units: Iterator[memoryview]) -> bool:
    for unit in units:
        kind = unit[0] >> 1 & 63 if unit else _HEVC_LAST_VCL + 1
        if kind <= _HEVC_LAST_VCL:
            return _HEVC_FIRST_IRAP <= kind <= _HEVC_LAST_IRAP
    return False


def _recovery_frames(sei: bytes) -> int | None:
    """Read after how many frames the video is whole again; None without a recovery point."""
    for kind, content, _ in sei_messages(sei):
        if kind == _SEI_RECOVERY_POINT:
            return exp_golomb(content)
    return None
