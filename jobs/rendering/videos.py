"""Draws detections on videos of a run, one part at a time, and joins the parts.

One worker draws and writes a short video, or one that cannot be split. A long video is drawn in
parts by many workers, and one process joins the parts as they come. A damaged file may crash
whatever decodes it, so none of this happens in the command's own process.
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
from jobs.media.drawing.detections import NO_BOXES, draw_detections
from jobs.media.mp4 import EncodedPart, Mp4Writer, encode, open_sound, read_shape
from jobs.media.video import Lost, decode_segment, index_video, split
from jobs.rendering.atomic_file import AtomicFile
from jobs.rendering.frame_rows import FrameRows
from jobs.rendering.images import chosen_boxes, tile_of
from jobs.rendering.video_sources import (
    current_uri,
    end_pts_of,
    require_same_frames,
    require_same_size,
    status_of_unusable,
)
from jobs.rendering.video_tasks import VideoOutcome, VideoPart, VideoPlan, VideoWorkItem

FRAMES_PER_PART = 300
"""Few enough to be kept in memory once encoded, many enough to be worth a task."""


@dataclass(kw_only=True)
class PartSummary:
    """What happened while the frames of one part, or of several, were drawn.

    ``tiles`` are JPEGs of frames in the middle of a part; ``reason`` says why frames were lost.
    """

    num_lost: int = 0
    tiles: list[bytes] = field(default_factory=list[bytes])
    reason: str | None = None

    def add(self, later: PartSummary) -> None:
        """Add the summary of a later part of the same video."""
        self.num_lost += later.num_lost
        self.tiles += later.tiles
        self.reason = self.reason or later.reason


@dataclass(frozen=True, kw_only=True)
class DrawnPart:
    """A part of a video, drawn and encoded by a worker."""

    encoded: Sequence[EncodedPart]
    summary: PartSummary


def plan_or_draw(work: VideoWorkItem) -> VideoPlan | VideoOutcome:
    """Plan the parts of a long video; draw a short one at once, and refuse an unusable one."""
    refused = partial(VideoOutcome, uri=work.uri)
    if not work.shards:
        return refused(
            status="not_detected", reason=f"{work.uri}: the run has no row of this video"
        )
    try:
        uri = current_uri(work)
        source = video_source(uri)
    except (DataError, StorageError) as error:
        return refused(status="missing", reason=str(error))
    try:
        require_same_size(work, uri)
        index = index_video(source, stream=work.items[0].stream)
        require_same_frames(work, index)
        shape = read_shape(source, stream=index.stream)
    except VideoError as error:
        return refused(status=status_of_unusable(work), reason=str(error))
    except StorageError as error:
        return refused(status="missing", reason=str(error))
    num_parts = -(-index.num_frames // FRAMES_PER_PART)
    plan = VideoPlan(
        work=work,
        source=uri,
        shape=shape,
        segments=split(index, num_parts),
        start_pts=int(index.timestamps[0]),
        end_pts=end_pts_of(shape, index),
    )
    if len(plan.segments) > 1:
        return plan
    summary = PartSummary()
    (part,) = plan.parts()
    with closing(_VideoWriter(plan)) as writer:
        for encoded_part in _encoded_parts(part, summary):
            writer.add(encoded_part)
        return writer.finish(summary)


def draw_part(part: VideoPart) -> DrawnPart:
    """Decode, draw and encode one part of a video, with one frame in memory."""
    summary = PartSummary()
    return DrawnPart(encoded=list(_encoded_parts(part, summary)), summary=summary)


class _VideoWriter:
    """Writes a video from its encoded parts; to be closed, whatever happens."""

    def __init__(self, plan: VideoPlan) -> None:
        self._plan = plan
        with ExitStack() as stack:
            self._file = stack.enter_context(AtomicFile(plan.work.out))
            sound = open_sound(video_source(plan.source), beside=plan.segments[0].stream)
            self._sound = stack.enter_context(sound)
            self._mp4 = stack.enter_context(
                Mp4Writer(self._file.path, plan.shape, self._sound, start_pts=plan.start_pts)
            )
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Remove the file, unless it was finished."""
        self._stack.close()

    def add(self, part: EncodedPart) -> None:
        self._mp4.add(part)

    def finish(self, summary: PartSummary) -> VideoOutcome:
        """Put the video in its place, if it has any frame."""
        work, num_frames = self._plan.work, self._mp4.num_frames
        if num_frames:
            self._mp4.finish(end_pts=self._plan.end_pts)
            self._file.commit()
        sound = self._sound
        return VideoOutcome(
            uri=work.uri,
            status="drawn" if num_frames else status_of_unusable(work),
            reason=summary.reason,
            num_frames=num_frames,
            num_lost=summary.num_lost,
            sound_ends_because=None if sound is None else sound.ends_because,
            tiles=tuple(summary.tiles),
        )


class VideoJoiner:
    """Joins the parts of one video in a process of its own, which is called once for each part."""

    def __init__(self, plan: VideoPlan) -> None:
        self._plan = plan
        self._summary = PartSummary()
        self._writer: _VideoWriter | None = None

    def __call__(self, part: DrawnPart | None) -> VideoOutcome | None:
        """Write the next part; with None, finish the video and return its outcome."""
        if self._writer is None:
            self._writer = _VideoWriter(self._plan)
        if part is None:
            outcome = self._writer.finish(self._summary)
            self._writer.close()
            return outcome
        self._summary.add(part.summary)
        for encoded_part in part.encoded:
            self._writer.add(encoded_part)
        return None


def _encoded_parts(part: VideoPart, summary: PartSummary) -> Iterator[EncodedPart]:
    frames = _drawn_frames(part, summary)
    while encoded_part := encode(islice(frames, FRAMES_PER_PART), part.shape):
        yield encoded_part


def _drawn_frames(part: VideoPart, summary: PartSummary) -> Iterator[tuple[int, Pixels]]:
    work, segment, style = part.work, part.segment, part.work.style
    rows = FrameRows(work.items, work.shards, work.between)
    middle = segment.first_frame + segment.num_frames // 2
    for frame in decode_segment(video_source(part.source), segment):
        if isinstance(frame, Lost):
            summary.num_lost += frame.last - frame.first + 1
            summary.reason = summary.reason or f"frame {frame.first}: {frame.reason}"
            continue
        pixels, row = frame.pixels, rows.of(frame.index)
        found = NO_BOXES if row is None else chosen_boxes(row, style)
        if work.wants_tile and frame.index >= middle and not summary.tiles:
            summary.tiles.append(tile_of(pixels, found, style.names))
        draw_detections(pixels, found, style.names)
        yield frame.pts, pixels
