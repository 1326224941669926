"""Opens a video file, chooses one of its streams and sets up its decoder.

Everything that could change a frame is fixed here: one thread (with two, FFmpeg reports damage at
a later frame), the codec's strictest checks, and no guessing of frame order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

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

_PYAV_READS_ANY_METADATA = 19  # the version
_MAX_STALLS = 16  # damaged places in a row that are skipped
_BUFFER_BYTES = 2**20  # of a file object: a mebibyte per request to a remote storage
_LENIENT = "crccheck+bitstream+buffer"
_REFUSES_UNKNOWN = frozenset(("tiff",))  # with `explode`, a tag without meaning for the pixels
_COUNTS_33_BITS = frozenset(("mpegts", "mpeg"))
_HALF_A_WRAP = 2**32
_LAST_OF_A_PIECE = 2  # packets: the mark may be one packet early, since FFmpeg's parser reads ahead
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

    @property
    def time_base(self) -> Fraction:
        """Seconds of a tick."""
        return Fraction(self.stream.time_base or 1)

    @property
    def largest_gap(self) -> float:
        """Ticks between two frames; more is time that begins anew, and that FFmpeg took for a wrap.

        A transport or program stream counts with 33 bits. FFmpeg adds them where time falls far.
        """
        return _HALF_A_WRAP if self.container.format.name in _COUNTS_33_BITS else inf

    def packets(self) -> Iterator[Packet]:
        """Read the stream's packets from the container's position; skip damage between them.

        Yields:
            Each packet that is not empty.

        Raises:
            VideoError: the container cannot be read any further.
        """
        packets = self._packets()
        is_ts = self.container.format.name == "mpegts"
        return without_false_corruption(packets) if is_ts else packets

    def _packets(self) -> Iterator[Packet]:
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


def without_false_corruption(packets: Iterator[Packet]) -> Iterator[Packet]:
    """Read packets of a transport stream, and take a mark of damage from where a piece ends.

    FFmpeg marks a packet where the stream's counter jumps. It does so where bytes are missing, and
    also where a file that was joined from pieces goes on with the next: there a key frame follows,
    or time begins anew, at once. Whether such a packet is whole is left to the decoder.

    Yields:
        Each packet.

    Raises:
        VideoError: the container cannot be read any further.
    """
    held: deque[Packet] = deque()
    error: VideoError | None = None
    try:
        for packet in packets:
            for earlier in held:
                if _is_next_piece(earlier, packet):
                    earlier.is_corrupt = False
            held.append(packet)
            while held and not (held[0].is_corrupt and len(held) <= _LAST_OF_A_PIECE):
                yield held.popleft()
    except VideoError as raised:
        error = raised
    yield from held
    if error is not None:
        raise error


def _is_next_piece(earlier: Packet, packet: Packet) -> bool:
    begins_anew = packet.dts is not None and earlier.dts is not None and packet.dts < earlier.dts
    return begins_anew or (packet.is_keyframe and not earlier.is_keyframe)


def demux_packets(container: av.container.InputContainer, stream: S) -> Iterator[av.Packet[S]]:
    """Read a stream's packets to the end, including the empty one that ends the stream.

    At the end PyAV fails with an ``IndexError`` for streams that a damaged file added midway. All
    packets were read by then.

    Yields:
        Each packet.
    """
    with suppress(IndexError):
        yield from cast("Iterator[av.Packet[S]]", container.demux(stream))


def open_container(
    source: VideoSource,
    file: BinaryIO | None,
    *,
    buffer_size: int = 2**15,
    options: dict[str, str] | None = None,
) -> av.container.InputContainer:
    """Open a container by its path, or as the file that its opener gave.

    Metadata need not be UTF-8; from 19 on, PyAV does not have to be told so, nor knows the keyword.
    """
    is_told = int(av.__version__.partition(".")[0]) < _PYAV_READS_ANY_METADATA
    keyword: dict[str, Any] = {"metadata_errors": "ignore"} if is_told else {}
    return av.open(
        f"file:{source.uri}" if file is None else file,
        mode="r",
        buffer_size=buffer_size,
        container_options=options,
        **keyword,
    )


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
        container = open_container(
            source,
            file,
            buffer_size=_BUFFER_BYTES,
            options={"format_whitelist": _FORMATS},
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
    if not stream.time_base:
        raise VideoError(f"stream {stream.index}: no time base")
    check_size(context.width, context.height)
    context.thread_count = 1
    options = {
        "err_detect": _LENIENT if context.name in _REFUSES_UNKNOWN else f"{_LENIENT}+explode",
        "max_pixels": str(MAX_FRAME_PIXELS),
    }
    if context.name == "h264":
        options["strict"] = "1"  # otherwise FFmpeg guesses how far frames are out of order
    context.options = options
