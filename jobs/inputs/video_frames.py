"""Segments of videos as items of a manifest: planned from an index, and decoded by a worker."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, cast

from fcos_core.errors import DataError, StorageError, VideoError
from jobs.inputs.item_bytes import has_changed
from jobs.media.video import (
    Frame,
    Lost,
    Sampling,
    Segment,
    VideoSource,
    decode_segment,
    index_video,
)
from jobs.media.video.segments import split_by_length
from jobs.rundir.rows import ManifestItem
from jobs.rundir.sampled_frames import EVERY_FRAME
from jobs.storage import storage_for
from jobs.storage.range_file import RangeFile

_READ_AHEAD_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class PlannedVideo:
    """What a manifest is told of a video.

    Attributes:
        width: of its first frame, upright; None if it cannot be used.
        height: the same.
        segments: that it was cut into; none if it cannot be used.
        note: what a person should know: why it cannot be used or not be split, or where it ends.
    """

    width: int | None
    height: int | None
    segments: tuple[Segment, ...]
    note: str | None


def source_of(uri: str) -> VideoSource:
    """Say how a video is opened: by its path, or by ranges where it lies in a bucket.

    Raises:
        VideoError: there is no such file.
    """
    info = storage_for(uri).stat(uri)
    if info is None:
        raise VideoError(f"{uri}: no such file")
    if "://" not in uri:
        return VideoSource(uri)

    def opener() -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(RangeFile(info), _READ_AHEAD_BYTES))

    return VideoSource(uri, opener)


def plan_video(
    uri: str, *, stream: int | None, sampling: Sampling, rows_per_segment: int
) -> PlannedVideo:
    """Index a video and cut it.

    Args:
        uri: of the video.
        stream: index of a stream in its file; None takes the best.
        sampling: which frames to look at.
        rows_per_segment: frames looked at in a segment, at least, but for the last.
    """
    try:
        index = index_video(source_of(uri), stream=stream)
    except VideoError as error:
        return PlannedVideo(width=None, height=None, segments=(), note=str(error))
    notes: list[str] = []
    if index.serial_because is not None:
        notes.append(f"{uri}: is decoded as one segment: {index.serial_because}")
    if index.damage is not None:
        notes.append(f"{uri}: ends after {index.num_frames} frames: {index.damage}")
    return PlannedVideo(
        width=index.width,
        height=index.height,
        segments=tuple(split_by_length(index, rows_per_segment, sampling=sampling)),
        note="; ".join(notes) or None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFrame:
    """A frame of an item, or frames of it that are lost.

    Attributes:
        number: how many frames of the item are before it.
        event: the frame, or the loss.
        error: of the loss; None for a frame.
    """

    number: int
    event: Frame | Lost
    error: DataError | None = None


def load_frames(item: ManifestItem, *, threads: int = 1) -> Iterator[LoadedFrame]:
    """Decode the frames of an item, one at a time.

    Args:
        item: a segment.
        threads: that convert a frame's colours together.

    Yields:
        Its frames and what is lost of them, in order, each once.

    Raises:
        StorageError: the storage failed; another try may help.
    """
    if item.stream is None:
        yield LoadedFrame(0, _all_lost(item), VideoError(_why_unplanned(item)))
        return
    try:
        source = source_of(item.uri)
        _check_version(item)
    except VideoError as error:
        yield LoadedFrame(0, _all_lost(item), error)
        return
    numbers = {frame: number for number, frame in enumerate(item.frames())}
    for event in decode_segment(source, segment_of(item), threads=threads):
        if isinstance(event, Frame):
            yield LoadedFrame(numbers[event.index], event)
            continue
        which = (
            f"frame {event.first} is"
            if event.first == event.last
            else f"frames {event.first} to {event.last} are"
        )
        error = VideoError(f"{item.uri}: {which} lost: {event.reason}")
        yield LoadedFrame(numbers[event.first], event, error)
    if "://" not in item.uri and _is_other_version(item):  # S3 refuses to read on by itself
        raise StorageError(f"{item.uri}: has changed while it was read")


def segment_of(item: ManifestItem) -> Segment:
    """Read a segment from its manifest item."""
    assert item.stream is not None
    assert item.time_base_num is not None
    assert item.time_base_den is not None
    assert item.first_frame is not None
    assert item.num_frames is not None
    assert item.start_pts is not None
    assert item.end_pts is not None
    return Segment(
        stream=item.stream,
        time_base=Fraction(item.time_base_num, item.time_base_den),
        first_frame=item.first_frame,
        num_frames=item.num_frames,
        start_pts=item.start_pts,
        end_pts=item.end_pts,
        decode_from_pts=item.decode_from_pts,
        sampling=item.sampling or EVERY_FRAME,
    )


def _check_version(item: ManifestItem) -> None:
    """Refuse a file that changed after it was indexed.

    Raises:
        VideoError: it did.
    """
    if _is_other_version(item):
        raise VideoError(f"{item.uri}: has changed since the run was planned")


def _is_other_version(item: ManifestItem) -> bool:
    """Whether a file changed after it was indexed, unless the item is to be taken as it is."""
    return (item.mtime_ns is not None or item.etag is not None) and has_changed(item)


def _all_lost(item: ManifestItem) -> Lost:
    frames = [frame for frame in item.frames() if frame is not None]
    return Lost(frames[0], frames[-1], None, None, "")


def _why_unplanned(item: ManifestItem) -> str:
    """Find out again why a video has no segments; nothing but its reason is wanted."""
    from jobs.inputs.video_index import plan_alone

    planned = plan_alone(item.uri)
    if planned.segments:
        return f"{item.uri}: could not be read when the run was planned; begin another run with it"
    return planned.note or f"{item.uri}: cannot be used"
