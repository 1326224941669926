"""The frames of one manifest item: a segment of a video, decoded by a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from fcos_core.errors import DataError, StorageError, VideoError
from jobs.inputs.item_bytes import has_changed
from jobs.inputs.video_index import plan_alone
from jobs.inputs.video_source import video_source
from jobs.media.video import Frame, Lost, Segment, decode_segment
from jobs.rundir.rows import ManifestItem
from jobs.rundir.sampled_frames import EVERY_FRAME
from jobs.storage import is_local, storage_for


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFrame:
    """A frame of an item, or frames that are lost, and then the error that says why.

    ``number`` is the place of the frame, or of the first lost one, among the item's frames, from 0.
    """

    number: int
    event: Frame | Lost
    error: DataError | None = None


def load_frames(item: ManifestItem, *, threads: int = 1) -> Iterator[LoadedFrame]:
    """Decode the frames of an item, one at a time; ``threads`` share the conversion of colours.

    Yields:
        Its frames and losses, in order; each frame is in one of them.

    Raises:
        StorageError: the storage failed, or the file changed meanwhile; a retry may help.
    """
    if item.stream is None:
        # The plan says why, but for runs of earlier versions.
        problem = item.problem or _why_unplanned(item)
        yield LoadedFrame(0, _all_lost(item), VideoError(problem))
        return
    try:
        before = storage_for(item.uri).stat(item.uri)
        source = video_source(item.uri)
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
    # S3 refuses to read on by itself.
    if is_local(item.uri) and storage_for(item.uri).stat(item.uri) != before:
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
    # An item without a version was not there when the run was planned; any version may be read.
    if (item.mtime_ns is not None or item.etag is not None) and has_changed(item):
        raise VideoError(f"{item.uri}: has changed since the run was planned")


def _all_lost(item: ManifestItem) -> Lost:
    frames = [frame for frame in item.frames() if frame is not None]
    return Lost(frames[0], frames[-1], None, None, "")


def _why_unplanned(item: ManifestItem) -> str:
    """Index a video once more, to learn why it has no segments."""
    planned = plan_alone(item.uri)
    if planned.segments:
        return f"{item.uri}: could not be read when the run was planned; begin another run with it"
    return planned.problem or f"{item.uri}: cannot be used"
