"""A decoder that takes one packet at a time, and separates damage from false alarms."""

# pyright: reportUnknownMemberType=false
# PyAV's decode() takes a packet of any stream

from __future__ import annotations

import logging

import av.logging
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from jobs.media.video.sei import SeiCleaner
from jobs.media.video.source import Packet, reason_of

_SKIPS_UNREFERENCED = frozenset(("h264",))
"""Codecs in which no frame that is kept refers to one that is marked as unreferenced."""

_LOGS_DAMAGE = frozenset(
    (
        *("mjpeg", "jpeg2000", "tiff", "ffv1", "dvvideo", "h261"),
        *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "cinepak", "qtrle", "zmbv", "snow"),
    )
)
"""Codecs whose decoder gives damaged frames without an error, and only logs the damage."""

_HARMLESS = {
    # After a key frame at which decoding began, a frame tells the decoder to drop references of the
    # group before. The frame itself is whole.
    "h264": ("mmco: unref short failure",),
    # What a camera or an editor says about the image; the scan is read all the same.
    "mjpeg": ("APP fields", "decode_app", "EXIF"),
    "tiff": ("Unknown or unsupported tag",),
}
"""By codec, parts of messages that no pixel depends on."""

MARKED_CORRUPT = "the decoder marks the frame as damaged"
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
        self._sei = SeiCleaner(context.name, context.extradata)

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
        self._sei.clean(packet)
        with av.logging.Capture() as captured:
            try:
                frames, error = self._context.decode(packet), None
            except (FFmpegError, ValueError) as raised:
                frames, error = [], reason_of(raised)
        messages = [message.strip() for _, _, message in captured]
        complaints = [message for message in messages if not self._is_harmless(message)]
        if error is not None and messages and not complaints:
            return [], None
        if error is None and complaints and self._context.name in _LOGS_DAMAGE:
            return [], complaints[0]
        return frames, error

    def drain(self) -> list[VideoFrame]:
        """Take the frames that are left; the decoder must be flushed before its next packet."""
        try:
            return self._context.decode(None)
        except (FFmpegError, ValueError):
            return []

    def flush(self) -> None:
        """Empty the decoder."""
        self._context.flush_buffers()

    def _is_harmless(self, message: str) -> bool:
        return any(part in message for part in _HARMLESS.get(self._context.name, ()))
