"""Videos of a run with their detections drawn on: one part of them at a time, then joined.

A short video, or one that cannot be split, is drawn and written by one worker. A long one is drawn
in parts by many, and one process puts these one after the other as they come. Whatever decodes may
die of a damaged file, so none of this happens in the command's own process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from fcos_core.errors import DataError, StorageError, VideoError
from jobs.inputs.video_source import video_source
from jobs.media.drawing.colors import Pixels
from jobs.media.drawing.detections import NOTHING, draw_found
from jobs.media.mp4 import EncodedPart, Mp4Writer, encode, open_sound, read_shape
from jobs.media.video import Lost, decode_segment, index_video, split
from jobs.rendering.atomic_file import Writing
from jobs.rendering.frame_rows import FrameRows
from jobs.rendering.images import tile_of
from jobs.rendering.shard_rows import found_in
from jobs.rendering.video_sources import (
    end_pts_of,
    fate_of_unusable,
    place_of,
    require_same_frames,
    require_same_size,
)
from jobs.rendering.video_tasks import PartOrder, VideoOrder, VideoOutcome, VideoPlan

FRAMES_PER_PART = 300
"""Of a video: few enough to be kept in memory once encoded, many enough to be worth a task."""


@dataclass(kw_only=True)
class Tally:
    """What happened while frames were drawn.

    Attributes:
        num_lost: frames that could not be decoded.
        tiles: JPEGs of frames in the middle of a part, when they were wanted.
        reason: why frames were lost; None when none were.
    """

    num_lost: int = 0
    tiles: list[bytes] = field(default_factory=list[bytes])
    reason: str | None = None

    def add(self, other: Tally) -> None:
        """Add what happened elsewhere, later in the video."""
        self.num_lost += other.num_lost
        self.tiles += other.tiles
        self.reason = self.reason or other.reason


@dataclass(frozen=True, kw_only=True)
class DrawnPart:
    """A part of a video as a worker gives it back."""

    encoded: Sequence[EncodedPart]
    tally: Tally


def plan_or_draw(order: VideoOrder) -> VideoPlan | VideoOutcome:
    """Look at a video; draw it at once when it is one part, and say why when it cannot be drawn."""
    refused = partial(VideoOutcome, uri=order.uri)
    if not order.shards:
        return refused(fate="not_detected", reason=f"{order.uri}: the run has no row of it")
    try:
        uri = place_of(order)
        source = video_source(uri)
    except (DataError, StorageError) as error:
        return refused(fate="missing", reason=str(error))
    try:
        require_same_size(order, uri)
        index = index_video(source, stream=order.items[0].stream)
        require_same_frames(order, index)
        shape = read_shape(source, stream=index.stream)
    except VideoError as error:
        return refused(fate=fate_of_unusable(order), reason=str(error))
    except StorageError as error:
        return refused(fate="missing", reason=str(error))
    num_parts = -(-index.num_frames // FRAMES_PER_PART)
    plan = VideoPlan(
        order=order,
        source=uri,
        shape=shape,
        segments=split(index, num_parts),
        start_pts=int(index.timestamps[0]),
        end_pts=end_pts_of(shape, index),
    )
    if len(plan.segments) > 1:
        return plan
    tally = Tally()
    (part,) = plan.parts()
    with closing(Joining(plan)) as joining:
        joining.open()
        for encoded_part in _encoded_parts(part, tally):
            joining.add(encoded_part)
        return joining.finish(tally)


def draw_part(order: PartOrder) -> DrawnPart:
    """Decode, draw and encode one part of a video, one frame in memory."""
    tally = Tally()
    return DrawnPart(encoded=list(_encoded_parts(order, tally)), tally=tally)


class Joining:
    """Writes a video of its parts; it is to be opened first, and closed whatever happens.

    Args:
        plan: of the video.
    """

    def __init__(self, plan: VideoPlan) -> None:
        self._plan = plan
        self._stack = ExitStack()

    def open(self) -> None:
        """Begin a file beside its place, and open the sound."""
        plan, enter = self._plan, self._stack.enter_context
        self._writing = enter(Writing(plan.order.out))
        self._sound = enter(open_sound(video_source(plan.source), beside=plan.segments[0].stream))
        self._writer = enter(
            Mp4Writer(self._writing.path, plan.shape, self._sound, start_pts=plan.start_pts)
        )

    def close(self) -> None:
        """Throw the file away, unless it was finished."""
        self._stack.close()

    def add(self, part: EncodedPart) -> None:
        """Write the next part."""
        self._writer.add(part)

    def finish(self, tally: Tally) -> VideoOutcome:
        """Put the video in its place, if there is any frame in it.

        Args:
            tally: of what happened while its parts were made.
        """
        order, num_frames = self._plan.order, self._writer.num_frames
        if num_frames:
            self._writer.finish(end_pts=self._plan.end_pts)
            self._writing.keep()
        sound = self._sound
        return VideoOutcome(
            uri=order.uri,
            fate="drawn" if num_frames else fate_of_unusable(order),
            reason=tally.reason,
            num_frames=num_frames,
            num_lost=tally.num_lost,
            sound_ends_because=None if sound is None else sound.ends_because,
            tiles=tuple(tally.tiles),
        )


class Joiner:
    """Joins one video in a process of its own, which is asked to write part after part.

    Args:
        plan: of the video.
    """

    def __init__(self, plan: VideoPlan) -> None:
        self._plan = plan
        self._tally = Tally()
        self._joining: Joining | None = None

    def __call__(self, part: DrawnPart | None) -> VideoOutcome | None:
        """Write the next part; with None, put the video in its place and say what became of it."""
        if self._joining is None:
            self._joining = Joining(self._plan)
            self._joining.open()
        if part is None:
            outcome = self._joining.finish(self._tally)
            self._joining.close()
            return outcome
        self._tally.add(part.tally)
        for encoded_part in part.encoded:
            self._joining.add(encoded_part)
        return None


def _encoded_parts(order: PartOrder, tally: Tally) -> Iterator[EncodedPart]:
    """Draw and encode, so many frames at a time.

    Yields:
        What was encoded.
    """
    frames = _drawn_frames(order, tally)
    while part := encode(islice(frames, FRAMES_PER_PART), order.shape):
        yield part


def _drawn_frames(order: PartOrder, tally: Tally) -> Iterator[tuple[int, Pixels]]:
    look, segment = order.look, order.segment
    rows = FrameRows(order.items, order.shards, order.between)
    middle = segment.first_frame + segment.num_frames // 2
    for frame in decode_segment(video_source(order.source), segment):
        if isinstance(frame, Lost):
            tally.num_lost += frame.last - frame.first + 1
            tally.reason = tally.reason or f"frame {frame.first}: {frame.reason}"
            continue
        pixels, row = frame.pixels, rows.of(frame.index)
        found = NOTHING if row is None else found_in(row, look.min_score, look.category_ids)
        if order.wants_tile and frame.index >= middle and not tally.tiles:
            tally.tiles.append(tile_of(pixels, found, look.names))
        draw_found(pixels, found, look.names)
        yield frame.pts, pixels
