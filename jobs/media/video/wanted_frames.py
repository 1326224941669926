"""The frames of a segment to be given out: all from its first to its last, or a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jobs.rundir.sampled_frames import EVERY_FRAME, read_sampling

if TYPE_CHECKING:
    from jobs.media.video.segments import Segment


class WantedFrames:
    """Knows a segment's frames by time and place; an *ordinal* is a number among them, from 0."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self.is_sampled = segment.sampling != EVERY_FRAME
        if not self.is_sampled:
            self._places = np.arange(segment.num_frames) + segment.first_frame
            self._ticks = None
        else:
            self._places, self._ticks = read_sampling(
                segment.sampling, first_frame=segment.first_frame, start_pts=segment.start_pts
            )
        self._ordinals: dict[int, int] = {}
        if self._ticks is not None:
            self._ordinals = {pts: i for i, pts in enumerate(self._ticks.tolist())}
        self._read: set[int] = set()
        self._num_read = 0  # from the first on, without a gap

    def __contains__(self, pts: int) -> bool:
        """Whether the frame that is shown at a time is wanted."""
        if self.is_sampled:
            return pts in self._ordinals
        return self._segment.start_pts <= pts <= self._segment.end_pts

    def place(self, pts: int, ordinal: int) -> int:
        """Give a frame's place in the stream, by its time, or else by its ordinal."""
        ordinal = self._ordinals.get(pts, ordinal)
        return int(self._places[min(ordinal, len(self._places) - 1)])

    def within(self, first: int, last: int) -> list[int]:
        """Give the places of the wanted frames from one place to another, both included."""
        start, end = np.searchsorted(self._places, [first, last + 1])
        return self._places[start:end].tolist()

    def after(self, place: int) -> tuple[list[int], int | None]:
        """Give the wanted places behind a place, and the first one's time; None if unknown."""
        start = int(np.searchsorted(self._places, place + 1))
        places = self._places[start:].tolist()
        if self._ticks is not None and places:
            return places, int(self._ticks[start])
        return places, None if start else self._segment.start_pts

    def mark_read(self, pts: int) -> None:
        """Remember that a wanted frame's packet was read."""
        if self._ticks is None:
            return
        self._read.add(pts)
        while self._num_read < len(self._ticks) and self._ticks[self._num_read] in self._read:
            self._read.remove(int(self._ticks[self._num_read]))
            self._num_read += 1

    def next_unread(self) -> int | None:
        """Give the time of the first sampled frame whose packet was not read; None without one."""
        if self._ticks is None or self._num_read == len(self._ticks):
            return None
        return int(self._ticks[self._num_read])
