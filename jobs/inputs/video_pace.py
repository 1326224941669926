"""Frames per second of each video, from the seconds that its shards took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class VideoPace:
    """Frames and seconds of work, by video.

    A segment of 256 frames or more is a shard of its own, and the shard's seconds are its own. A
    shard of several items shares its seconds among them by their rows. The rate is that of one
    worker: two workers on one video take half of the time.
    """

    def __init__(self) -> None:
        self._frames: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}

    def add(self, frames: Mapping[str, int], num_rows: int, seconds: float) -> None:
        """Count a shard that was computed.

        Args:
            frames: of its videos, by uri.
            num_rows: images and frames, videos' and others.
            seconds: that all of them took.
        """
        for uri, num_frames in frames.items():
            share = seconds * num_frames / num_rows
            self._frames[uri] += num_frames
            self._seconds[uri] = self._seconds.get(uri, 0.0) + share

    def frames_per_s(self, uri: str) -> float | None:
        """The frames of a video that one worker computed per second; None where unknown."""
        seconds = self._seconds.get(uri, 0.0)
        return self._frames[uri] / seconds if seconds else None
