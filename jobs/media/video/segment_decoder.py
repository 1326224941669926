"""Decodes the frames of one segment of a video whose packets tell which frames there are.

A *group* is what one entry point begins: its key frame and all packets up to the next one. Frames
that are shown before a group's key frame (its *leading* frames) need the group before as well, so
they belong to that one, and a decoder that begins here passes over them. Before a group without
leading frames the decoder is emptied: what happens in one such group cannot be seen in another.

Damage costs a group's frames from the first on that it may have touched. At the first error the
group is given up; what was decoded before is kept, and the next group begins afresh.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from av.video.frame import VideoFrame

from jobs.media.video.decoder import Decoder
from jobs.media.video.frames import Decoded, Lost, seconds
from jobs.media.video.keyframes import PacketReader
from jobs.media.video.source import OpenVideo, Packet
from jobs.media.video.wanted_frames import Choice

if TYPE_CHECKING:
    from jobs.media.video.segments import Segment

_HELD_BYTES = 64 * 2**20
"""Of packets: those of groups that may not be needed, and those to decode again after damage."""
_MARKED = "the decoder marks the frame as damaged"
_SILENT = "the decoder gave no frame and no reason"


class _Timed(NamedTuple):
    """A packet that says when its frame is shown, in ticks."""

    pts: int
    packet: Packet


@dataclass
class _Damage:
    """Why a group is given up.

    Attributes:
        reason: what the decoder said.
        lost_from: when the first frame is shown that may be touched.
        is_leading: only the group's leading frames are: its key frame begins afresh.
        held: what was decoded before.
    """

    reason: str
    lost_from: int
    is_leading: bool
    held: list[VideoFrame]


class SegmentDecoder:
    """Takes a segment's packets in the order of the file, and gives its frames in theirs.

    Args:
        video: open; its packets are the caller's to read.
        segment: what is wanted, and where the first packet will be from.
    """

    def __init__(self, video: OpenVideo, segment: Segment) -> None:
        self._decoder = Decoder(video.context)
        self._reader = PacketReader(video.context.name, video.context.extradata)
        self._time_base = segment.time_base
        self._choice = Choice(segment)
        self._num_frames = segment.num_frames
        self._num_read = self._num_out = 0
        self._pending: list[int] = []  # a heap: wanted, read, and not out yet
        self._highest: int | None = None
        self._entries: list[int] = []
        self._opening: _Timed | None = None  # a key frame, until the next packet says what it opens
        self._opening_wanted: int | None = None
        self._whole_from = 0  # what is shown before lacks what it refers to
        self._damage: _Damage | None = None
        self._past_damage: list[tuple[int, int, str]] = []  # from when, up to which group, why
        self._again = _Again()
        self._waiting: list[_Timed] | None = None  # a sampled group that may not be needed
        self._waiting_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether no more packets are needed; after damage, the rest of the group is."""
        return self._num_read >= self._num_frames and self._damage is None

    def feed(self, packet: Packet) -> Iterator[Decoded | Lost]:
        """Take the next packet.

        Yields:
            What is known because of it.
        """
        if packet.pts is None:  # not so when the video was indexed
            return
        wanted = self._choice.next_unread()
        begins = self._highest is None or (
            self._reader.is_entry(packet) and packet.pts > self._highest
        )
        timed = _Timed(packet.pts, packet)
        self._highest = timed.pts if begins else max(self._highest or timed.pts, timed.pts)
        if packet.pts in self._choice and self._reader.is_shown(packet):
            heappush(self._pending, packet.pts)
            self._choice.note_read(packet.pts)
            self._num_read += 1
        if self._opening is not None:
            leads = not begins and timed.pts < self._opening.pts
            yield from self._open_group(self._opening, leads=leads)
        if begins:
            self._opening, self._opening_wanted = timed, wanted
        else:
            yield from self._add(timed, wanted)

    def finish(self) -> Iterator[Decoded | Lost]:
        """Give what the decoder still holds, and say what is lost.

        Yields:
            The rest of the frames whose packets were read.
        """
        if self._opening is not None:
            yield from self._open_group(self._opening, leads=False)
        yield from self._end_group()
        yield from self._report_lost(None)

    def _open_group(self, key: _Timed, *, leads: bool) -> Iterator[Decoded | Lost]:
        """Begin with a group, afresh unless its leading frames need what is before it.

        Yields:
            What is known of the groups before it.
        """
        wanted, self._opening = self._opening_wanted, None
        is_sampled = self._choice.is_sampled
        needs_last = leads and not (is_sampled and (wanted is None or wanted >= key.pts))
        if needs_last and self._damage is None:
            if self._waiting is not None:
                yield from self._stop_waiting()
        else:
            yield from self._end_group()
            self._decoder.flush()
            self._again.forget()
            self._whole_from = key.pts
            self._waiting, self._waiting_bytes = ([], 0) if is_sampled else (None, 0)
        self._entries.append(key.pts)
        self._again.begin_group()
        yield from self._add(key, wanted)

    def _end_group(self) -> Iterator[Decoded | Lost]:
        if self._damage is not None and self._damage.is_leading:
            yield from self._restart_group()
        if self._damage is None and self._waiting is None:
            yield from self._take(self._decoder.drain())
        if self._damage is not None:
            yield from self._recover()

    def _add(self, timed: _Timed, wanted: int | None) -> Iterator[Decoded | Lost]:
        if self._waiting is None:
            yield from self._decode(timed)
            return
        self._waiting.append(timed)
        self._waiting_bytes += timed.packet.size
        is_needed = wanted is not None and timed.pts >= wanted
        if is_needed or self._waiting_bytes > _HELD_BYTES:
            yield from self._stop_waiting()

    def _stop_waiting(self) -> Iterator[Decoded | Lost]:
        waiting, self._waiting = self._waiting or [], None
        for timed in waiting:
            yield from self._decode(timed)

    def _decode(self, timed: _Timed) -> Iterator[Decoded | Lost]:
        pts = timed.pts
        if self._damage is not None and self._damage.is_leading and pts > self._entries[-1]:
            yield from self._restart_group()
        if self._damage is not None:
            self._damage.lost_from = min(self._damage.lost_from, pts)
            return
        is_wanted = not self._choice.is_sampled or pts in self._choice
        frames, error = self._decoder.decode(timed.packet, is_wanted=is_wanted)
        if error is None or pts < self._whole_from:  # what lacks its references may well fail
            self._again.add(timed)
            yield from self._take(frames)
        else:
            self._fail(pts, error)

    def _take(self, frames: Sequence[VideoFrame]) -> Iterator[Decoded | Lost]:
        for frame in frames:
            if self._damage is not None:
                self._damage.held.append(frame)
            elif frame.pts is None or frame.pts < self._whole_from:
                continue
            elif frame.is_corrupt:
                self._fail(frame.pts, _MARKED)
            else:
                yield from self._show(frame)

    def _fail(self, pts: int, reason: str) -> None:
        is_leading = pts < self._entries[-1]
        self._damage = _Damage(reason, pts, is_leading, self._decoder.drain())

    def _recover(self) -> Iterator[Decoded | Lost]:
        """Show what was decoded before the damage. An error may swallow a frame that was ready.

        Yields:
            The frames that are right.
        """
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
            whole |= self._again.decode(self._decoder, missing)
            self._decoder.flush()
        for pts in sorted(pts for pts in whole if pts < damage.lost_from):
            yield from self._show(whole[pts])

    def _restart_group(self) -> Iterator[Decoded | Lost]:
        """Go on after damage to leading frames, as if decoding had begun with this group.

        Yields:
            The frames that are right.
        """
        group = self._again.last_group()
        if group is None:  # too large to keep: given up as a whole
            assert self._damage is not None
            self._damage.is_leading = False
            return
        yield from self._recover()
        self._whole_from = self._entries[-1]
        self._again.forget()
        self._again.begin_group()
        for timed in group:
            yield from self._decode(timed)

    def _show(self, frame: VideoFrame) -> Iterator[Decoded | Lost]:
        pts = frame.pts
        if pts is None or pts < self._whole_from or pts not in self._choice:
            return
        yield from self._report_lost(pts)
        if self._pending and self._pending[0] == pts:
            heappop(self._pending)
            yield Decoded(self._choice.place(pts, self._num_out), pts, frame)
            self._num_out += 1

    def _report_lost(self, before: int | None) -> Iterator[Lost]:
        """Say of what was read and is shown before a frame that came out that it is lost.

        Yields:
            One loss per group.
        """
        lost: list[tuple[int, int]] = []
        while self._pending and (before is None or self._pending[0] < before):
            pts = heappop(self._pending)
            lost.append((pts, self._choice.place(pts, self._num_out)))
            self._num_out += 1
        for (_, reason), members in groupby(lost, key=lambda one: self._cause(one[0])):
            (first_pts, first), *others = members
            yield Lost(
                first=first,
                last=others[-1][1] if others else first,
                pts=first_pts,
                timestamp_s=seconds(first_pts, self._time_base),
                reason=reason,
            )

    def _cause(self, pts: int) -> tuple[int, str]:
        """Say in which group a lost frame is, and why it is lost."""
        group = bisect_right(self._entries, pts)
        for start, last_group, reason in reversed(self._past_damage):
            if start <= pts and group <= last_group:
                return group, reason
        return group, _SILENT


class _Again:
    """The packets since the decoder began afresh, of two groups at most, to be decoded again."""

    def __init__(self) -> None:
        self._groups: list[list[_Timed]] | None = []
        self._size_bytes = 0

    def forget(self) -> None:
        """The decoder begins afresh."""
        self._groups, self._size_bytes = [], 0

    def begin_group(self) -> None:
        """The next packet begins a group."""
        if self._groups is not None:
            self._size_bytes -= sum(t.packet.size for group in self._groups[:-1] for t in group)
            self._groups = [*self._groups[-1:], []]

    def add(self, timed: _Timed) -> None:
        """Keep a packet that was decoded, unless there are too many."""
        if self._groups is None:
            return
        self._groups[-1].append(timed)
        self._size_bytes += timed.packet.size
        if self._size_bytes > _HELD_BYTES:
            self._groups = None

    def last_group(self) -> list[_Timed] | None:
        """Give the packets of the group that was begun last; None if they were not kept."""
        return None if self._groups is None else self._groups[-1]

    def decode(self, decoder: Decoder, wanted: set[int]) -> dict[int, VideoFrame]:
        """Decode all of it with a fresh decoder, and take some frames by their times."""
        again = [timed for group in self._groups or [] for timed in group]
        found: list[VideoFrame] = []
        for timed in again:
            frames, _ = decoder.decode(timed.packet)
            found += [frame for frame in frames if frame.pts in wanted]
        found += [frame for frame in decoder.drain() if frame.pts in wanted]
        return {
            frame.pts: frame
            for frame in found
            if frame.pts is not None and frame.pts >= again[0].pts and not frame.is_corrupt
        }
