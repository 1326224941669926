"""The sound of a video, packet by packet: copied where browsers play it in mp4, else as AAC."""

# pyright: reportUnknownMemberType=false
# PyAV leaves what an encoder or a template gives partly unknown

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, cast

from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard

from jobs.media.video.source import VideoSource, demux_packets, open_container, reason_of

if TYPE_CHECKING:
    SoundPacket = Packet[AudioStream]
else:
    SoundPacket = Packet

_log = logging.getLogger(__name__)

_COPIED = frozenset(("aac", "mp3", "opus", "flac"))
"""Codecs that mp4 holds and Chromium, Firefox and Safari play."""

_AAC_RATES = frozenset((8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000))
_USUAL_RATE = 48000
_LEAST_MP3_RATE = 16000  # in mp4
_MONO = 1


class SoundTrack:
    """The best sound stream of a video, to be written into an mp4.

    Nothing else reads from the container. ``ends_because`` says why the sound ends early; None
    while there is no error.
    """

    def __init__(self, container: InputContainer, stream: AudioStream, uri: str) -> None:
        self._container = container
        self._stream = stream
        self._uri = uri
        self.ends_because: str | None = None
        self._encoder: AudioStream | None = None
        self._copy: AudioStream | None = None

    @property
    def start_s(self) -> Fraction | None:
        """When the sound begins; None if unknown."""
        start, time_base = self._stream.start_time, self._stream.time_base
        return None if start is None or not time_base else start * time_base

    def add_to(self, out: OutputContainer) -> None:
        """Add a stream for the sound to an mp4."""
        codec = self._stream.codec_context.codec.canonical_name
        rate = self._stream.codec_context.sample_rate
        if codec in _COPIED and (codec != "mp3" or rate >= _LEAST_MP3_RATE):
            self._copy = out.add_stream_from_template(self._stream, opaque=True)
            return
        _log.info(
            "%s: browsers do not play its sound (%s) in mp4; it is encoded as AAC", self._uri, codec
        )
        self._encoder = out.add_stream("aac", rate if rate in _AAC_RATES else _USUAL_RATE)
        is_mono = self._stream.codec_context.channels == _MONO
        self._encoder.codec_context.layout = "mono" if is_mono else "stereo"

    def packets(self, offset_s: Fraction) -> Iterator[tuple[Fraction, SoundPacket]]:
        """Read the packets in the order of time, each ``offset_s`` earlier, up to the first error.

        Yields:
            When a packet begins, in seconds, and the packet, ready to be written.
        """
        make = self._copied if self._copy is not None else self._encoded
        try:
            for packet in make(offset_s):
                if packet.pts is not None:
                    yield packet.pts * packet.time_base, packet
        except (FFmpegError, ValueError) as error:
            self.ends_because = reason_of(error)

    def _copied(self, offset_s: Fraction) -> Iterator[SoundPacket]:
        assert self._copy is not None
        for packet in demux_packets(self._container, self._stream):
            if packet.dts is None or packet.pts is None:
                continue
            offset = round(offset_s / packet.time_base)
            packet.pts -= offset
            packet.dts -= offset
            packet.stream = self._copy
            yield packet

    def _encoded(self, offset_s: Fraction) -> Iterator[SoundPacket]:
        assert self._encoder is not None
        context = self._encoder.codec_context
        context.open(strict=False)
        resampler = AudioResampler(
            context.format, context.layout, context.sample_rate, context.frame_size
        )
        frames = (
            frame
            for packet in demux_packets(self._container, self._stream)
            for frame in self._stream.decode(packet)
        )
        for frame in chain(frames, [None]):
            for part in resampler.resample(frame):
                if part.pts is not None:
                    part.pts -= round(offset_s * context.sample_rate)
                yield from self._encoder.encode(part)
        yield from self._encoder.encode(None)


@contextmanager
def open_sound(source: VideoSource, *, beside: int) -> Generator[SoundTrack | None]:
    """Open the sound that belongs to the video stream of index ``beside``.

    Yields:
        The sound; None where the video has none that can be decoded or copied.
    """
    file = None if source.opener is None else source.opener()
    container = open_container(source, file)
    try:
        best = container.streams.best("audio", related=container.streams[beside])
        if isinstance(best, AudioStream) and _has_decoder(best):
            for stream in container.streams:
                if stream.index != best.index:
                    stream.discard = Discard.all
            yield SoundTrack(container, best, source.uri)
        else:
            yield None
    finally:
        container.close()
        if file is not None:
            file.close()


def _has_decoder(stream: AudioStream) -> bool:
    # None where FFmpeg has no decoder, although PyAV's types exclude it.
    return bool(cast("AudioCodecContext | None", stream.codec_context))
