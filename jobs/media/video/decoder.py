"""A decoder that takes one packet at a time, and separates damage from false alarms."""

# pyright: reportUnknownMemberType=false
# PyAV's decode() takes a packet of any stream

from __future__ import annotations

import logging

import av.logging
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from jobs.media.video.source import Packet, reason_of

_SKIPS_UNREFERENCED = frozenset(("h264",))
"""Codecs in which no frame that is kept refers to one that is marked as unreferenced."""

_LOGS_DAMAGE = frozenset(("mjpeg",))
"""Codecs whose decoder gives damaged frames without an error, and only logs the damage."""

MARKED_CORRUPT = "the decoder marks the frame as damaged"
_MISSING_REFERENCE_DROPPED = "mmco: unref short failure"
_CUT_SHORT = "the packet is cut short"

# FFmpeg's messages are needed to tell errors apart; they are not logged.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").addHandler(logging.NullHandler())
logging.getLogger("libav").propagate = False


class Decoder:
    """Wraps the decoder of a stream, which must be unused or flushed."""

    def __init__(self, context: VideoCodecContext) -> None:
        self._context = context
        self._is_h264 = context.name == "h264"

    def decode(
        self, packet: Packet, *, is_wanted: bool = True
    ) -> tuple[list[VideoFrame], str | None]:
        """Decode the next packet; return the frames that are ready, and the error or None.

        A frame that is not wanted may be skipped where no other frame refers to it.
        """
        if packet.is_corrupt:
            return [], _CUT_SHORT
        if self._context.name in _SKIPS_UNREFERENCED:
            self._context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        with av.logging.Capture() as messages:
            try:
                frames = self._context.decode(packet)
            except (FFmpegError, ValueError) as error:
                if self._is_false_alarm([message for _, _, message in messages]):
                    return [], None
                return [], reason_of(error)
        if messages and self._context.name in _LOGS_DAMAGE:
            return [], messages[0][2].strip()
        return frames, None

    def drain(self) -> list[VideoFrame]:
        """Take the frames that are left; the decoder must be flushed before its next packet."""
        try:
            return self._context.decode(None)
        except (FFmpegError, ValueError):
            return []

    def flush(self) -> None:
        """Empty the decoder."""
        self._context.flush_buffers()

    def _is_false_alarm(self, messages: list[str]) -> bool:
        """Whether the only error is that a reference to be dropped is missing.

        This happens after an H.264 key frame at which decoding began, when a frame tells the
        decoder to drop references of the group before. The frame itself is whole.
        """
        return (
            self._is_h264
            and bool(messages)
            and all(_MISSING_REFERENCE_DROPPED in message for message in messages)
        )
