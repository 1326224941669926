"""A decoder that takes one packet at a time and tells damage from false alarms."""

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

_ONLY_SAYS_SO = frozenset(("mjpeg",))
"""Codecs whose decoder gives damaged frames, and says in its messages alone that they are."""

_FORGETS_WHAT_IS_NOT_THERE = "mmco: unref short failure"
_CUT_SHORT = "the packet is cut short"

# FFmpeg's messages are needed to tell errors apart; they go nowhere else.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").addHandler(logging.NullHandler())
logging.getLogger("libav").propagate = False


class Decoder:
    """Wraps the decoder of a stream.

    Args:
        context: not yet used, or flushed.
    """

    def __init__(self, context: VideoCodecContext) -> None:
        self._context = context
        self._is_h264 = context.name == "h264"

    def decode(
        self, packet: Packet, *, is_wanted: bool = True
    ) -> tuple[list[VideoFrame], str | None]:
        """Decode a packet.

        Args:
            packet: the next one.
            is_wanted: whether its frame is looked at; if not, it may be left out where no other
                frame refers to it.

        Returns:
            The frames that are ready, and what is wrong, if anything is.
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
        if messages and self._context.name in _ONLY_SAYS_SO:
            return [], messages[0][2].strip()
        return frames, None

    def drain(self) -> list[VideoFrame]:
        """Take the frames that it still holds; it must be flushed before it decodes on."""
        try:
            return self._context.decode(None)
        except (FFmpegError, ValueError):
            return []

    def flush(self) -> None:
        """Make it forget all frames."""
        self._context.flush_buffers()

    def _is_false_alarm(self, messages: list[str]) -> bool:
        """Whether all that is wrong is an image to be forgotten that is not there.

        So it is behind an H.264 key frame at which decoding began, when it tells the decoder to
        forget images of the group before. The frame itself is whole, and comes out.
        """
        return (
            self._is_h264
            and bool(messages)
            and all(_FORGETS_WHAT_IS_NOT_THERE in message for message in messages)
        )
