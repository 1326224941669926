"""What is to be drawn of a video, and the outcome: plain data that travels to the workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.media.mp4 import VideoShape
from jobs.media.video import Segment
from jobs.rendering.frame_rows import Between, items_for
from jobs.rendering.images import Outcome, Style
from jobs.rendering.shard_rows import ShardRows
from jobs.rundir.rows import ManifestItem


@dataclass(frozen=True, kw_only=True)
class VideoWorkItem:
    """One video to draw to ``out``, with its segments of the manifest, by first frame.

    ``shards`` are the committed ones with rows of the video, by number. The contact sheet may show
    frames if ``wants_tile``.
    """

    items: Sequence[ManifestItem]
    shards: Mapping[int, ShardRows]
    out: str
    style: Style
    between: Between
    wants_tile: bool

    @property
    def uri(self) -> str:
        """Uri of the source, as the run found it."""
        return self.items[0].uri


@dataclass(frozen=True, kw_only=True)
class VideoOutcome(Outcome):
    """The outcome of one video, with its numbers of drawn and of undecodable frames.

    ``sound_ends_because`` is None when the sound could be read to its end.
    """

    num_frames: int = 0
    num_lost: int = 0
    sound_ends_because: str | None = None


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """A video that is drawn in parts; ``source`` is where it lies now.

    ``start_pts`` and ``end_pts`` are the ticks when the first frame is shown and the last ends.
    """

    work: VideoWorkItem
    source: str
    shape: VideoShape
    segments: Sequence[Segment]
    start_pts: int
    end_pts: int

    def parts(self) -> Iterator[VideoPart]:
        for segment in self.segments:
            end_frame = segment.first_frame + segment.num_frames
            items = items_for(self.work.items, segment.first_frame, end_frame)
            shards = {item.shard for item in items} & self.work.shards.keys()
            yield VideoPart(
                work=replace(
                    self.work,
                    items=items,
                    shards={shard: self.work.shards[shard] for shard in shards},
                ),
                source=self.source,
                shape=self.shape,
                segment=segment,
            )


@dataclass(frozen=True, kw_only=True)
class VideoPart:
    """One part of a video to draw; ``work`` has the items and shards of this part only."""

    work: VideoWorkItem
    source: str
    shape: VideoShape
    segment: Segment
