"""What is to be drawn of a video, and what became of it: plain data that travels to the workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.media.mp4 import VideoShape
from jobs.media.video import Segment
from jobs.rendering.frame_rows import Between, items_for
from jobs.rendering.images import Look, Outcome
from jobs.rendering.shard_rows import ShardRows
from jobs.rundir.rows import ManifestItem


@dataclass(frozen=True, kw_only=True)
class VideoOrder:
    """One video to draw.

    Attributes:
        items: its segments in the manifest, by first frame.
        shards: where their rows are, by shard; those that are not committed are left out.
        out: uri of the drawing.
        look: of the drawing.
        between: what is drawn on frames that the run did not take.
        wants_tile: whether frames of it may be shown on the contact sheet.
    """

    items: Sequence[ManifestItem]
    shards: Mapping[int, ShardRows]
    out: str
    look: Look
    between: Between
    wants_tile: bool

    @property
    def uri(self) -> str:
        """Of the source, as the run found it."""
        return self.items[0].uri


@dataclass(frozen=True, kw_only=True)
class VideoOutcome(Outcome):
    """What became of one video.

    Attributes:
        num_frames: drawn.
        num_lost: frames that cannot be decoded.
        sound_ends_because: why the sound could not be read to its end; None when it could.
    """

    num_frames: int = 0
    num_lost: int = 0
    sound_ends_because: str | None = None


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """A video that is drawn in parts.

    Attributes:
        order: what is wanted.
        source: uri of where it lies now.
        shape: of its frames.
        segments: the parts.
        start_pts: ticks when its first frame is shown.
        end_pts: ticks when its last frame is over.
    """

    order: VideoOrder
    source: str
    shape: VideoShape
    segments: Sequence[Segment]
    start_pts: int
    end_pts: int

    def parts(self) -> Iterator[PartOrder]:
        """What the workers are given.

        Yields:
            Each part of the video.
        """
        for segment in self.segments:
            end_frame = segment.first_frame + segment.num_frames
            items = items_for(self.order.items, segment.first_frame, end_frame)
            shards = {item.shard for item in items} & self.order.shards.keys()
            yield PartOrder(
                source=self.source,
                shape=self.shape,
                segment=segment,
                items=items,
                shards={shard: self.order.shards[shard] for shard in shards},
                look=self.order.look,
                between=self.order.between,
                wants_tile=self.order.wants_tile,
            )


@dataclass(frozen=True, kw_only=True)
class PartOrder:
    """One part of a video to draw; see ``VideoOrder`` and ``VideoPlan``."""

    source: str
    shape: VideoShape
    segment: Segment
    items: Sequence[ManifestItem]
    shards: Mapping[int, ShardRows]
    look: Look
    between: Between
    wants_tile: bool
