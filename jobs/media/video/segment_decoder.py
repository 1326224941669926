"""Decodes the frames of one segment of a video whose packets tell which frames there are.

A *group* is a key frame at which decoding can begin and all packets up to the next such key frame.
Frames that are shown before the key frame of a group (its *leading* frames) need the group before
it too, so they belong to that group, and a decoder that begins here skips them. Before a group
without leading frames the decoder is emptied, so damage in one such group cannot change another.

At the first error a group is given up: its frames from the first possibly damaged one on are lost.
Frames that were decoded before are kept, and the next group begins with an empty decoder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from av.video.frame import VideoFrame

from jobs.media.video.decoder import MARKED_CORRUPT, Decoder
from jobs.media.video.frames import Decoded, Lost, seconds
from jobs.media.video.keyframes import PacketReader
from jobs.media.video.source import OpenVideo, Packet
from jobs.media.video.wanted_frames import WantedFrames

if TYPE_CHECKING:
    from jobs.media.video.segments import Segment

_HELD_BYTES = 64 * 2**20
"""The most bytes of packets kept: deferred ones, and decoded ones to be decoded again."""
_NO_FRAME = "the decoder gave no frame and no reason"


class _TimedPacket(NamedTuple):
    """A packet, and when its frame is shown, in ticks."""

    pts: int
    packet: Packet


@dataclass
class _Damage:
    """Why a group is given up.

    Attributes:
        reason: the decoder's message.
        lost_from: ticks when the first possibly damaged frame is shown.
        is_leading: whether only leading frames are damaged, so that the key frame can be decoded.
        held: frames that were decoded before the error.
    """

    reason: str
    lost_from: int
    is_leading: bool
    held: list[VideoFrame]


class SegmentDecoder:
    """Takes a segment's packets in file order, and gives its frames in the order they are shown.

    The caller reads the packets of the open video, from the segment's key frame on.
    """

    def __init__(self, video: OpenVideo, segment: Segment) -> None:
        self._decoder = Decoder(video.context)
        self._reader = PacketReader(video.context.name, video.context.extradata)
        self._time_base = segment.time_base
        self._wanted = WantedFrames(segment)
        self._num_frames = segment.num_frames
        self._num_read = self._num_out = 0
        self._pending: list[int] = []  # a heap: read, wanted and not yet given out
        self._highest: int | None = None
        self._entries: list[int] = []
        # A key frame is held until the next packet tells whether its group has leading frames.
        self._held_key: _TimedPacket | None = None
        self._held_next_wanted: int | None = None
        self._decodable_from = 0  # frames shown before lack their references
        self._damage: _Damage | None = None
        self._past_damage: list[tuple[int, int, str]] = []  # from pts, up to group, reason
        self._history = _PacketHistory()
        # Packets of a sampled group are deferred until a wanted frame needs them.
        self._deferred: list[_TimedPacket] | None = None
        self._deferred_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether no more packets are needed; after damage, the rest of the group is needed."""
        return self._num_read >= self._num_frames and self._damage is None

    def feed(self, packet: Packet) -> Iterator[Decoded | Lost]:
        """Take the next packet.

        Yields:
            The frames and losses that are known now.
        """
        if packet.pts is None:  # the file has changed since it was indexed
            return
        next_wanted = self._wanted.next_unread()
        begins = self._highest is None or (
            self._reader.is_entry(packet) and packet.pts > self._highest
        )
        timed = _TimedPacket(packet.pts, packet)
        self._highest = timed.pts if begins else max(self._highest or timed.pts, timed.pts)
        if packet.pts in self._wanted and self._reader.is_shown(packet):
            heappush(self._pending, packet.pts)
            self._wanted.mark_read(packet.pts)
            self._num_read += 1
        if self._held_key is not None:
            leads = not begins and timed.pts < self._held_key.pts
            yield from self._open_group(self._held_key, leads=leads)
        if begins:
            self._held_key, self._held_next_wanted = timed, next_wanted
        else:
            yield from self._add(timed, next_wanted)

    def finish(self) -> Iterator[Decoded | Lost]:
        """Give the frames that the decoder still holds, and report the lost ones.

        Yields:
            The rest of the frames whose packets were read.
        """
        if self._held_key is not None:
            yield from self._open_group(self._held_key, leads=False)
        yield from self._end_group()
        yield from self._report_lost(None)

    def _open_group(self, key: _TimedPacket, *, leads: bool) -> Iterator[Decoded | Lost]:
        # With an empty decoder, unless leading frames need the group before.
        next_wanted, self._held_key = self._held_next_wanted, None
        is_sampled = self._wanted.is_sampled
        needs_last = leads and not (is_sampled and (next_wanted is None or next_wanted >= key.pts))
        if needs_last and self._damage is None:
            if self._deferred is not None:
                yield from self._decode_deferred()
        else:
            yield from self._end_group()
            self._decoder.flush()
            self._history.forget()
            self._decodable_from = key.pts
            self._deferred, self._deferred_bytes = ([], 0) if is_sampled else (None, 0)
        self._entries.append(key.pts)
        self._history.begin_group()
        yield from self._add(key, next_wanted)

    def _end_group(self) -> Iterator[Decoded | Lost]:
        if self._damage is not None and self._damage.is_leading:
            yield from self._restart_group()
        if self._damage is None and self._deferred is None:
            yield from self._take(self._decoder.drain())
        if self._damage is not None:
            yield from self._recover()

    def _add(self, timed: _TimedPacket, next_wanted: int | None) -> Iterator[Decoded | Lost]:
        if self._deferred is None:
            yield from self._decode(timed)
            return
        self._deferred.append(timed)
        self._deferred_bytes += timed.packet.size
        is_needed = next_wanted is not None and timed.pts >= next_wanted
        if is_needed or self._deferred_bytes > _HELD_BYTES:
            yield from self._decode_deferred()

    def _decode_deferred(self) -> Iterator[Decoded | Lost]:
        deferred, self._deferred = self._deferred or [], None
        for timed in deferred:
            yield from self._decode(timed)

    def _decode(self, timed: _TimedPacket) -> Iterator[Decoded | Lost]:
        pts = timed.pts
        if self._damage is not None and self._damage.is_leading and pts > self._entries[-1]:
            yield from self._restart_group()
        if self._damage is not None:
            self._damage.lost_from = min(self._damage.lost_from, pts)
            return
        is_wanted = not self._wanted.is_sampled or pts in self._wanted
        frames, error = self._decoder.decode(timed.packet, is_wanted=is_wanted)
        if error is None or pts < self._decodable_from:  # a frame without its references may fail
            self._history.add(timed)
            yield from self._take(frames)
        else:
            self._give_up_group(pts, error)

    def _take(self, frames: Sequence[VideoFrame]) -> Iterator[Decoded | Lost]:
        for frame in frames:
            if self._damage is not None:
                self._damage.held.append(frame)
            elif frame.pts is None or frame.pts < self._decodable_from:
                continue
            elif frame.is_corrupt:
                self._give_up_group(frame.pts, MARKED_CORRUPT)
            else:
                yield from self._emit(frame)

    def _give_up_group(self, pts: int, reason: str) -> None:
        is_leading = pts < self._entries[-1]
        self._damage = _Damage(reason, pts, is_leading, self._decoder.drain())

    def _recover(self) -> Iterator[Decoded | Lost]:
        # Gives the frames before the damage; the error may have dropped some that were ready.
        assert self._damage is not None
        damage, self._damage = self._damage, None
        last_group = len(self._entries) - damage.is_leading
        self._past_damage.append((damage.lost_from, last_group, damage.reason))
        whole = {
            frame.pts: frame
            for frame in damage.held
            if frame.pts is not None and not frame.is_corrupt
        }
        missing = {pts for pts in self._pending if pts < damage.lost_from and pts not in whole}
        self._decoder.flush()
        if missing:
            whole |= self._history.decode(self._decoder, missing)
            self._decoder.flush()
        for pts in sorted(pts for pts in whole if pts < damage.lost_from):
            yield from self._emit(whole[pts])

    def _restart_group(self) -> Iterator[Decoded | Lost]:
        # After damage to leading frames only, the group is decoded anew.
        group = self._history.last_group()
        if group is None:  # too large to keep: the whole group is given up
            assert self._damage is not None
            self._damage.is_leading = False
            return
        yield from self._recover()
        self._decodable_from = self._entries[-1]
        self._history.forget()
        self._history.begin_group()
        for timed in group:
            yield from self._decode(timed)

    def _emit(self, frame: VideoFrame) -> Iterator[Decoded | Lost]:
        pts = frame.pts
        if pts is None or pts < self._decodable_from or pts not in self._wanted:
            return
        yield from self._report_lost(pts)
        if self._pending and self._pending[0] == pts:
            heappop(self._pending)
            yield Decoded(self._wanted.place(pts, self._num_out), pts, frame)
            self._num_out += 1

    def _report_lost(self, before: int | None) -> Iterator[Lost]:
        # The frames that were read and not decoded, all or those shown before; one loss per group.
        lost: list[tuple[int, int]] = []
        while self._pending and (before is None or self._pending[0] < before):
            pts = heappop(self._pending)
            lost.append((pts, self._wanted.place(pts, self._num_out)))
            self._num_out += 1
        for (_, reason), members in groupby(lost, key=lambda one: self._reason_of_loss(one[0])):
            (first_pts, first), *others = members
            yield Lost(
                first=first,
                last=others[-1][1] if others else first,
                pts=first_pts,
                timestamp_s=seconds(first_pts, self._time_base),
                reason=reason,
            )

    def _reason_of_loss(self, pts: int) -> tuple[int, str]:
        """Give the number of a lost frame's group, and why the frame is lost."""
        group = bisect_right(self._entries, pts)
        for start, last_group, reason in reversed(self._past_damage):
            if start <= pts and group <= last_group:
                return group, reason
        return group, _NO_FRAME


class _PacketHistory:
    """The packets that the decoder saw since it was emptied, of two groups at most."""

    def __init__(self) -> None:
        self._groups: list[list[_TimedPacket]] | None = []
        self._size_bytes = 0

    def forget(self) -> None:
        self._groups, self._size_bytes = [], 0

    def begin_group(self) -> None:
        if self._groups is not None:
            self._size_bytes -= sum(t.packet.size for group in self._groups[:-1] for t in group)
            self._groups = [*self._groups[-1:], []]

    def add(self, timed: _TimedPacket) -> None:
        """Keep a packet that was decoded; drop all when they are too large together."""
        if self._groups is None:
            return
        self._groups[-1].append(timed)
        self._size_bytes += timed.packet.size
        if self._size_bytes > _HELD_BYTES:
            self._groups = None

    def last_group(self) -> list[_TimedPacket] | None:
        """Give the packets of the newest group; None if they were not kept."""
        return None if self._groups is None else self._groups[-1]

    def decode(self, decoder: Decoder, wanted: set[int]) -> dict[int, VideoFrame]:
        """Decode all packets again with an empty decoder, and take the frames of some times."""
        packets = [timed for group in self._groups or [] for timed in group]
        found: list[VideoFrame] = []
        for timed in packets:
            frames, _ = decoder.decode(timed.packet)
            found += [frame for frame in frames if frame.pts in wanted]
        found += [frame for frame in decoder.drain() if frame.pts in wanted]
        return {
            frame.pts: frame
            for frame in found
            if frame.pts is not None and frame.pts >= packets[0].pts and not frame.is_corrupt
        }
