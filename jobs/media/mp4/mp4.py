"""Joins encoded parts and the sound into one mp4 file, as the parts arrive."""

# pyright: reportUnknownMemberType=false
# PyAV leaves what an encoder or a template gives partly unknown

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from jobs.media.mp4.audio import SoundPacket, SoundTrack
from jobs.media.mp4.h264 import EncodedPart
from jobs.media.mp4.shape import VideoShape

_BOX_HEADER_BYTES = 8
_MATRIX_AT = {0: 40, 1: 52}
"""Where the display matrix begins in a track's header, by the header's version."""


class Mp4Writer:
    """Writes a video of several parts; nothing is encoded again, and little is kept in memory.

    The file begins with its index, so a browser plays it before it is fully loaded. Time 0 is when
    the source's first frame or sound begins, whichever is earlier; ``start_pts`` is when that frame
    is shown, in ticks.
    """

    def __init__(
        self, path: Path, shape: VideoShape, sound: SoundTrack | None, *, start_pts: int
    ) -> None:
        self._path = path
        self._shape = shape
        self._sound = sound
        start_s = start_pts * shape.time_base
        if sound is not None and sound.start_s is not None:
            start_s = min(start_s, sound.start_s)
        self._start_pts = start_s // shape.time_base
        self._container: OutputContainer = av.open(
            path, "w", format="mp4", options={"movflags": "faststart"}
        )
        self._stream: VideoStream | None = None
        self._packets: Iterator[tuple[Fraction, SoundPacket]] = iter(())
        self._next_sound: tuple[Fraction, SoundPacket] | None = None
        self._last: Packet[VideoStream] | None = None
        self.num_frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error the file is deleted, so a second error while it is closed does not matter.
        with suppress(FFmpegError, ValueError):
            self._container.close()

    def add(self, part: EncodedPart) -> None:
        """Write the next part, and the sound up to its end."""
        with av.open(io.BytesIO(part.mp4), mode="r") as source:
            stream = self._stream or self._begin(source)
            for packet in source.demux(source.streams.video[0]):
                if packet.pts is None:
                    continue
                ticks = round(packet.pts * packet.time_base / self._shape.time_base)
                packet.pts = packet.dts = ticks + part.start_pts - self._start_pts
                packet.time_base = self._shape.time_base
                packet.stream = stream
                self._write(packet)
        self.num_frames += part.num_frames

    def finish(self, *, end_pts: int) -> None:
        """Write the rest of the sound, and the file's index; the last frame ends at ``end_pts``."""
        if self._last is not None and self._last.pts is not None:
            self._last.duration = max(1, end_pts - self._start_pts - self._last.pts)
            self._write_sound_until(self._last.pts)
            self._container.mux(self._last)
        self._write_sound_until(None)
        self._container.close()
        if self._shape.matrix is not None:
            with self._path.open("r+b") as file:
                _write_matrix(file, self._shape.matrix)

    def _begin(self, part: InputContainer) -> VideoStream:
        stream = self._container.add_stream_from_template(part.streams.video[0], opaque=True)
        stream.time_base = self._shape.time_base
        self._stream = stream
        if self._sound is not None:
            self._sound.add_to(self._container)
            self._packets = self._sound.packets(self._start_pts * self._shape.time_base)
            self._next_sound = next(self._packets, None)
        return stream

    def _write(self, packet: Packet[VideoStream]) -> None:
        """Write the packet before this one; its duration is only known now."""
        last, self._last = self._last, packet
        if last is not None and last.pts is not None and packet.pts is not None:
            last.duration = packet.pts - last.pts
            self._write_sound_until(last.pts)
            self._container.mux(last)

    def _write_sound_until(self, pts: int | None) -> None:
        """Write the sound that begins before a frame is shown; with None, the rest of the sound."""
        end_s = None if pts is None else pts * self._shape.time_base
        while self._next_sound is not None and (end_s is None or self._next_sound[0] <= end_s):
            self._container.mux(self._next_sound[1])
            self._next_sound = next(self._packets, None)


def _write_matrix(file: BinaryIO, matrix: tuple[int, ...]) -> None:
    """Write a display matrix into the header of the first track, which is the video.

    FFmpeg's muxer writes no display matrix that it is given, but leaves the place for it.
    """
    start, end = 0, file.seek(0, io.SEEK_END)
    for name in (b"moov", b"trak", b"tkhd"):
        start, end = _find_box(file, name, start, end)
        assert start < end, name
    file.seek(start)
    at = start + _MATRIX_AT[file.read(1)[0]]
    file.seek(at)
    file.write(struct.pack(">9i", *matrix))


def _find_box(file: BinaryIO, name: bytes, start: int, end: int) -> tuple[int, int]:
    """Find where the contents of the first box of a name begin and end; ``end`` twice if absent."""
    while start < end:
        file.seek(start)
        size, found = struct.unpack(">I4s", file.read(_BOX_HEADER_BYTES))
        header = _BOX_HEADER_BYTES
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            header += 8
        if found == name:
            return start + header, start + size
        start += size
    return end, end
