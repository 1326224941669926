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
    """One video to draw.

    Attributes:
        items: segments of the video in the manifest, by first frame.
        shards: committed shards with rows of the video, by number.
        out: uri of the drawn video.
        style: how and which detections are drawn.
        between: what is drawn on frames that the run did not take.
        wants_tile: whether frames of the video may be shown on the contact sheet.
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
    """The outcome of one video.

    Attributes:
        num_frames: frames that are drawn.
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
        work: the video to draw.
        source: uri where the source lies now.
        shape: size, time base and orientation of the frames.
        segments: frames of each part.
        start_pts: ticks when the first frame is shown.
        end_pts: ticks when the last frame ends.
    """

    work: VideoWorkItem
    source: str
    shape: VideoShape
    segments: Sequence[Segment]
    start_pts: int
    end_pts: int

    def parts(self) -> Iterator[VideoPart]:
        """Cut the video into the parts that workers draw.

        Yields:
            Each part of the video.
        """
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
    """One part of a video to draw.

    Attributes:
        work: the video, with the items and shards of this part only.
        source: uri where the source lies now.
        shape: size, time base and orientation of the frames.
        segment: frames of the part.
    """

    work: VideoWorkItem
    source: str
    shape: VideoShape
    segment: Segment
