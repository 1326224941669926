"""How fast each video was looked at, from the seconds that its shards were worked on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from jobs.rundir.rows import ManifestItem


class VideoPace:
    """Frames and seconds of work by video.

    A segment of 256 frames and more is a shard of its own, whose seconds are the segment's. Those
    of a shard of several items are shared out by their rows. They are those of one worker: a video
    that two work on at once is done in half of the time.
    """

    def __init__(self) -> None:
        self._frames: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}

    def add(self, items: Sequence[ManifestItem], seconds: float) -> None:
        """Count a shard that was computed.

        Args:
            items: all that were computed for it.
            seconds: that they took together.
        """
        num_rows = sum(item.num_frames or 1 for item in items)
        for item in items:
            if item.kind == "video_segment":
                num_frames = item.num_frames or 1
                share = seconds * num_frames / num_rows
                self._frames[item.uri] += num_frames
                self._seconds[item.uri] = self._seconds.get(item.uri, 0.0) + share

    def frames_per_s(self, uri: str) -> float | None:
        """Frames that one worker looked at in a second; None where nothing is known."""
        seconds = self._seconds.get(uri, 0.0)
        return self._frames[uri] / seconds if seconds else None
