"""Decodes a stream from its start and counts its frames, where packets do not tell the frames.

Such a video is indexed and later decoded in this way, so both find the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from math import inf

from av.video.frame import VideoFrame

from fcos_core.errors import VideoError
from jobs.media.video.decoder import MARKED_CORRUPT, Decoder
from jobs.media.video.frames import Decoded, Lost, seconds
from jobs.media.video.source import OpenVideo, Packet

_USUAL_RATE = Fraction(25)
_LARGEST_DIP_S = 1  # times that fall by less are frames out of order, or wrong by a little
_WITHOUT_TIMES = frozenset(("avi",))  # FFmpeg guesses, and B-frames make it guess wrong
_GUESSES_DECODING_TIMES = frozenset(("matroska,webm", "ogg"))  # wrong by a few where pts fall
_BEGINS_INSIDE_A_GROUP = "a piece of the file begins here, without a key frame"


def decode_and_count(video: OpenVideo) -> Iterator[Decoded | Lost]:
    """Decode a whole stream from its start.

    From an error on, each packet up to the next key frame counts as one lost frame. A frame's time
    is its own; where it has none, or its time does not rise, the usual step is added to the last.
    In a file that was joined from pieces, where time begins anew, each piece is decoded as if alone
    and shown behind the last; a later piece's packets before its first key frame are lost frames.

    Yields:
        Frames and losses; their places count from 0 without a gap.
    """
    counter = _Counter(video)
    with suppress(VideoError):  # the rest of the file cannot be read
        for packet in video.packets():
            yield from counter.feed(packet)
    yield from counter.finish()


def usual_step(video: OpenVideo) -> int:
    """Give the ticks between two frames, by the frame rate in the container."""
    rate = video.stream.average_rate or video.stream.guessed_rate or _USUAL_RATE
    return max(1, round(1 / (rate * video.time_base)))


class _Counter:
    """Counts frames, and the packets that gave no frame because of damage."""

    def __init__(self, video: OpenVideo) -> None:
        self._decoder = Decoder(video.context)
        self._time_base = video.time_base
        self._step = usual_step(video)
        self._has_times = video.container.format.name not in _WITHOUT_TIMES
        self._has_begun = False
        self._next = 0
        self._last_pts: int | None = None
        self._shift = 0  # ticks by which the present piece of a joined file is shown later
        self._largest_dip = round(_LARGEST_DIP_S / video.time_base)
        is_guess = video.container.format.name in _GUESSES_DECODING_TIMES
        self._dip_in_a_group = self._largest_dip if is_guess else self._step
        self._largest_gap = video.largest_gap
        self._last_dts: int | None = None
        self._in_flight: set[int] = set()  # times in packets whose frames did not come yet
        self._reason: str | None = None
        self._num_lost = 0

    def feed(self, packet: Packet) -> Iterator[Decoded | Lost]:
        if packet.is_keyframe:
            self._has_begun = True
        if self._has_begun and self._reason is None and self._begins_piece(packet):
            yield from self._emit(self._decoder.drain())
            self._flush()
            if not packet.is_keyframe:
                self._reason = self._reason or _BEGINS_INSIDE_A_GROUP
        if packet.is_keyframe and self._reason is not None:
            yield from self._report()
            self._flush()
        if self._reason is not None:
            self._num_lost += 1
        elif self._has_begun:
            yield from self._decode(packet)
        if packet.dts is not None:
            self._last_dts = packet.dts

    def _begins_piece(self, packet: Packet) -> bool:
        last, dts = self._last_dts, packet.dts
        if last is None or dts is None:
            return False
        # Within a group, a time that is wrong by a little must not cost the rest of it.
        return self._is_anew(dts, last, dip=0 if packet.is_keyframe else self._dip_in_a_group)

    def _is_anew(self, ticks: int, last: int, *, dip: int) -> bool:
        return ticks < last - dip or ticks > last + self._largest_gap

    def _flush(self) -> None:
        self._decoder.flush()
        self._in_flight.clear()

    def finish(self) -> Iterator[Decoded | Lost]:
        if self._reason is None:
            yield from self._emit(self._decoder.drain())
        yield from self._report()

    def _decode(self, packet: Packet) -> Iterator[Decoded | Lost]:
        frames, reason = self._decoder.decode(packet)
        if reason is not None or any(frame.is_corrupt for frame in frames):
            frames += self._decoder.drain()
        if reason is not None:
            # The packet's own frame may be left, in part. One that was ready may be dropped, which
            # is shown before those that are left.
            frames = [frame for frame in frames if frame.pts is None or frame.pts != packet.pts]
            self._num_lost = len(self._in_flight.difference(frame.pts for frame in frames))
            self._reason = reason
            yield from self._report()
        elif packet.pts is not None and not packet.is_discard:
            self._in_flight.add(packet.pts)
        yield from self._emit(frames)
        if reason is not None:
            self._reason = self._reason or reason
            self._num_lost += 1

    def _emit(self, frames: Sequence[VideoFrame]) -> Iterator[Decoded]:
        for frame in frames:
            last = inf if frame.pts is None else frame.pts
            self._in_flight = {pts for pts in self._in_flight if pts > last}
            if frame.is_corrupt:
                self._reason = MARKED_CORRUPT
            if self._reason is not None:
                self._num_lost += 1
                continue
            yield Decoded(self._next, self._tick(frame), frame)
            self._next += 1

    def _report(self) -> Iterator[Lost]:
        if self._reason is not None and self._num_lost:
            pts = self._tick(None)
            yield Lost(
                first=self._next,
                last=self._next + self._num_lost - 1,
                pts=pts,
                timestamp_s=seconds(pts, self._time_base),
                reason=self._reason,
            )
            self._next += self._num_lost
            self._last_pts = pts + (self._num_lost - 1) * self._step
        self._reason, self._num_lost = None, 0

    def _tick(self, frame: VideoFrame | None) -> int:
        own = frame.pts if frame is not None and self._has_times else None
        pts = None if own is None else own + self._shift
        if self._last_pts is not None:
            counted = self._last_pts + self._step
            if pts is not None and self._is_anew(pts, self._last_pts, dip=self._largest_dip):
                self._shift += counted - pts
                pts = counted
            if pts is None or pts <= self._last_pts:
                pts = counted
        self._last_pts = pts or 0
        return self._last_pts
