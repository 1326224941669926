"""Opens a video file, chooses one of its streams and sets up its decoder.

Everything that could change a frame is fixed here: one thread (with two, FFmpeg reports damage at
a later frame), the codec's strictest checks, and no guessing of frame order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

import av
import av.container
import av.stream
from av.error import FFmpegError, InvalidDataError
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from fcos_core.errors import VideoError
from jobs.media.limits import MAX_FRAME_PIXELS

if TYPE_CHECKING:
    Packet = av.Packet[VideoStream]
else:
    Packet = av.Packet

S = TypeVar("S", bound=av.stream.Stream)

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
# Formats that name other files (playlists, concatenations) are refused.

_MAX_STALLS = 16  # damaged places in a row that are skipped
_BUFFER_BYTES = 2**20  # of a file object: a mebibyte per request to a remote storage
_IS_NO_VIDEO = (
    av.stream.Disposition.attached_pic
    | av.stream.Disposition.timed_thumbnails
    | av.stream.Disposition.still_image
)


@dataclass(frozen=True)
class VideoSource:
    """Where a video's bytes come from: a local path, or an opener of a file that can seek.

    With an opener, the uri only names the video in errors.
    """

    uri: str
    opener: Callable[[], BinaryIO] | None = None


@dataclass(frozen=True)
class OpenVideo:
    """An open file, and the stream to be decoded."""

    container: av.container.InputContainer
    stream: VideoStream

    @property
    def context(self) -> VideoCodecContext:
        """The stream's decoder."""
        return self.stream.codec_context

    def packets(self) -> Iterator[Packet]:
        """Read the stream's packets from the container's position; skip damage between them.

        Yields:
            Each packet that is not empty.

        Raises:
            VideoError: the container cannot be read any further.
        """
        stalls = 0
        while True:
            try:
                for packet in demux_packets(self.container, self.stream):
                    if packet.size:
                        stalls = 0
                        yield packet
            except InvalidDataError as error:
                stalls += 1
                if stalls > _MAX_STALLS:
                    raise VideoError(reason_of(error)) from error
            except (FFmpegError, ValueError) as error:
                raise VideoError(reason_of(error)) from error
            else:
                return


def demux_packets(container: av.container.InputContainer, stream: S) -> Iterator[av.Packet[S]]:
    """Read a stream's packets to the end, including the empty one that ends the stream.

    At the end PyAV fails with an ``IndexError`` for streams that a damaged file added midway. All
    packets were read by then.

    Yields:
        Each packet.
    """
    with suppress(IndexError):
        yield from cast("Iterator[av.Packet[S]]", container.demux(stream))


@contextmanager
def open_video(source: VideoSource, *, stream: int | None) -> Generator[OpenVideo]:
    """Open a video for reading; without an index of a stream, the best stream.

    Yields:
        The file and its stream.

    Raises:
        VideoError: the file is no video, has no such stream, or its frames are too large.
    """
    file = source.opener() if source.opener is not None else None
    try:
        container = av.open(
            f"file:{source.uri}" if file is None else file,
            mode="r",
            metadata_errors="ignore",
            buffer_size=_BUFFER_BYTES,
            container_options={"format_whitelist": _FORMATS},
        )
    except (FFmpegError, ValueError) as error:
        if file is not None:
            file.close()
        raise VideoError(f"cannot be opened as a video: {reason_of(error)}") from error
    try:
        chosen = choose_stream(container, stream)
        for other in container.streams:
            if other.index != chosen.index:
                other.discard = av.stream.Discard.all
        _set_up(chosen)
        yield OpenVideo(container, chosen)
    finally:
        container.close()
        if file is not None:
            file.close()


def choose_stream(container: av.container.InputContainer, index: int | None) -> VideoStream:
    """Take a stream by its index, otherwise the best one; cover images do not count.

    Raises:
        VideoError: there is no such video stream.
    """
    streams = [s for s in container.streams.video if not s.disposition & _IS_NO_VIDEO]
    if index is not None:
        for stream in streams:
            if stream.index == index:
                return stream
        there = ", ".join(f"{s.index} is {s.type}" for s in container.streams) or "there are none"
        raise VideoError(f"stream {index} is no video stream; of its streams, {there}")
    if not streams:
        there = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise VideoError(f"no video stream, only {there}")
    best = container.streams.best("video")
    return next((s for s in streams if best is not None and s.index == best.index), streams[0])


def check_size(width: int, height: int) -> None:
    """Refuse frames that are too large to be decoded.

    Raises:
        VideoError: the frames are larger than ``MAX_FRAME_PIXELS``.
    """
    if width * height > MAX_FRAME_PIXELS:
        raise VideoError(
            f"frames of {width} x {height} = {width * height} pixels, limit {MAX_FRAME_PIXELS}"
        )


def reason_of(error: Exception) -> str:
    """Give FFmpeg's message without the error number and the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _has_decoder(stream: VideoStream) -> bool:
    """Whether FFmpeg knows the stream's codec, whatever PyAV's types promise."""
    context: VideoCodecContext | None = getattr(stream, "codec_context", None)
    return context is not None and context.is_decoder


def _set_up(stream: VideoStream) -> None:
    if not _has_decoder(stream):
        raise VideoError(f"stream {stream.index}: no decoder for its codec")
    context = stream.codec_context
    if stream.time_base is None or not stream.time_base:
        raise VideoError(f"stream {stream.index}: no time base")
    check_size(context.width, context.height)
    context.thread_count = 1
    options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "max_pixels": str(MAX_FRAME_PIXELS),
    }
    if context.name == "h264":
        options["strict"] = "1"  # otherwise FFmpeg guesses how far frames are out of order
    context.options = options
