"""Takes out the SEI messages at which a strict decoder refuses a whole H.264 or HEVC frame.

SEI is what a stream says besides its frames: captions, time codes, a camera's own data. A decoder
that stops at errors stops there too, though no pixel depends on it. What is damaged in a frame is
told only by a decoder that stops at errors, so such messages must not reach it.
"""

from __future__ import annotations

from jobs.media.video.nal_units import escaped, nal_length_size, nal_units, rbsp, sei_messages
from jobs.media.video.source import Packet

_H264_SEI, _H264_FILLER = 6, 12
_HEVC_SEI, _HEVC_FILLER = (39, 40), 38
_REGISTERED, _UNREGISTERED = 4, 5
_UUID_BYTES = 16
_STOP_BIT = b"\x80"


class SeiCleaner:
    """Cleans the packets of one stream in place; packets of other codecs stay as they are."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._is_hevc = codec == "hevc"
        self._is_cleaned = codec in {"h264", "hevc"}
        self._length_size = nal_length_size(codec, extradata) if self._is_cleaned else None

    def clean(self, packet: Packet) -> None:
        """Take out messages that are longer than their unit, and user data of many forms."""
        if not self._is_cleaned or not packet.size:
            return
        data = bytearray(packet)
        is_changed = False
        for unit in nal_units(memoryview(data), self._length_size):
            cleaned = self._cleaned(unit) if self._is_sei(unit) else None
            if cleaned is not None:
                unit[:] = cleaned
                is_changed = True
        if is_changed:
            packet.update(bytes(data))

    def _is_sei(self, unit: memoryview) -> bool:
        if not unit:
            return False
        return unit[0] >> 1 & 63 in _HEVC_SEI if self._is_hevc else unit[0] & 31 == _H264_SEI

    def _cleaned(self, unit: memoryview) -> bytes | None:
        # The unit with as many bytes as before; None where nothing is to be taken out.
        header = 2 if self._is_hevc else 1
        payload = rbsp(unit[header:])
        kept = b"".join(
            message for kind, content, message in sei_messages(payload) if _is_kept(kind, content)
        )
        if kept == payload.rstrip(b"\x00")[:-1]:
            return None
        changed = bytes(unit[:header]) + escaped(kept) + _STOP_BIT
        if not kept or len(changed) > len(unit):
            return self._filler(unit)
        return changed.ljust(len(unit), b"\x00")

    def _filler(self, unit: memoryview) -> bytes:
        # The same bytes as a kind of unit that every decoder skips.
        kept_bits, kind = (0x81, _HEVC_FILLER << 1) if self._is_hevc else (0xE0, _H264_FILLER)
        return bytes((unit[0] & kept_bits | kind,)) + bytes(unit[1:])


def _is_kept(kind: int, content: bytes) -> bool:
    """Whether a decoder reads a message for sure.

    Registered user data (captions, HDR) has many forms, and no pixel depends on it.
    """
    return kind != _REGISTERED and (kind != _UNREGISTERED or len(content) >= _UUID_BYTES)
