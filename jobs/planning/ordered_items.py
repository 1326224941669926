"""From the listed inputs to the items of a manifest, in its order and not numbered yet."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.inputs.external_sort import external_sort
from jobs.inputs.item_spool import ItemSpool
from jobs.inputs.spool import BATCH_ROWS, MEMORY_ROWS, Spool, TemporaryFolder
from jobs.inputs.video_index import PlannedVideo
from jobs.rundir.sampled_frames import EVERY_FRAME
from jobs.rundir.schemas import MANIFEST

Int64Array = npt.NDArray[np.int64]
Videos = Mapping[str, PlannedVideo]
"""The index of each video, by its uri."""

VIDEOS_AT_ONCE = 4_096
"""So many videos are indexed together: enough for many workers, and their plans fit in memory."""

UNNUMBERED = pa.schema(
    [
        field.with_nullable(nullable=True) if field.name == "image_id" else field
        for field in MANIFEST
        if field.name not in {"item_id", "shard"}
    ]
)
"""``MANIFEST`` without numbers; ``image_id`` is only there where an annotation file gives it."""

_INPUT = "input"
_SEGMENTS = UNNUMBERED.append(pa.field(_INPUT, pa.int64(), nullable=False))
_SIDES = ["height", "width"]
_SORTED_SIDES = [pa.field(f"{name}_or_0", pa.int32(), nullable=False) for name in _SIDES]
_SIZED = pa.schema([*UNNUMBERED, *_SORTED_SIDES])


class OrderedItems:
    """Images and segments of videos, in the order of a manifest.

    Where the sizes of all images are known, images of equal height and width lie together;
    otherwise the order of the listing stays.

    Args:
        listed: the images and videos.
        plan: indexes some videos by their uris.
        folder: for what does not fit in memory.
        videos_at_once: the most videos to index together.
        memory_rows: the most rows to keep in memory.

    Attributes:
        num_rows: images and frames of all items.
        is_sized: whether the width and height of every image are known.
    """

    def __init__(
        self,
        listed: ItemSpool,
        plan: Callable[[Sequence[str]], Videos],
        *,
        folder: TemporaryFolder | None = None,
        videos_at_once: int = VIDEOS_AT_ONCE,
        memory_rows: int = MEMORY_ROWS,
    ) -> None:
        self.folder = folder or TemporaryFolder()
        self.num_rows = 0
        self.is_sized = listed.is_sized
        self._memory_rows = memory_rows
        segments = self._segments(listed, plan, videos_at_once)
        items = self._counted(_interleaved(listed, segments))
        if listed.is_sized:
            self._spool = self._sorted_by_size(items)
        else:
            self._spool = Spool(UNNUMBERED, self.folder, memory_rows=memory_rows)
            for batch in items:
                self._spool.append(batch)
        segments.close()

    def __len__(self) -> int:
        """Count the items."""
        return len(self._spool)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the items as ``UNNUMBERED`` batches.

        Yields:
            At least one item at a time.
        """
        for batch in self._spool.batches():
            yield batch.select(UNNUMBERED.names)

    def close(self) -> None:
        """Forget the items and remove their files."""
        self._spool.close()
        self.folder.close()

    def _segments(
        self,
        listed: ItemSpool,
        plan: Callable[[Sequence[str]], Videos],
        videos_at_once: int,
    ) -> Spool:
        """Index the videos of a listing; give their segments, with the place of each video."""
        segments = Spool(_SEGMENTS, self.folder, memory_rows=self._memory_rows)
        held: list[dict[str, Any]] = []
        for row in _videos_of(listed) if listed.num_videos else ():
            held.append(row)
            if len(held) == videos_at_once:
                _append_segments(segments, held, plan)
                held = []
        if held:
            _append_segments(segments, held, plan)
        return segments

    def _counted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.num_rows += int(rows_of(batch).sum())
            yield batch

    def _sorted_by_size(self, items: Iterator[pa.RecordBatch]) -> Spool:
        sized = (
            pa.RecordBatch.from_arrays(
                [*batch.columns, *(pc.fill_null(batch.column(name), 0) for name in _SIDES)],
                schema=_SIZED,
            )
            for batch in items
        )
        by = [field.name for field in _SORTED_SIDES]
        return external_sort(sized, _SIZED, by, folder=self.folder, memory_rows=self._memory_rows)


def rows_of(batch: pa.RecordBatch) -> Int64Array:
    """Count the images and frames of each item."""
    return (
        pc.fill_null(batch.column("num_frames"), 1).to_numpy(zero_copy_only=False).astype(np.int64)
    )


def _interleaved(listed: ItemSpool, segments: Spool) -> Iterator[pa.RecordBatch]:
    """Put segments where their videos are among the listed items.

    Yields:
        ``UNNUMBERED`` batches in the listing's order.
    """
    following = _Cursor(segments)
    start = 0
    for batch in listed.batches():
        images = _images(batch)
        if pc.any(batch.column("is_video")).as_py():
            places = np.flatnonzero(~batch.column("is_video").to_numpy(zero_copy_only=False))
            taken = following.take_below(start + batch.num_rows)
            inputs = taken.column(_INPUT).to_numpy() - start
            order = np.argsort(np.concatenate([places, inputs]), kind="stable")
            both = pa.Table.from_batches(
                [images, *taken.drop_columns([_INPUT]).to_batches()], UNNUMBERED
            )
            yield from both.take(pa.array(order)).combine_chunks().to_batches()
        else:
            yield images
        start += batch.num_rows


class _Cursor:
    """Reads segments once, as far as they belong to the next inputs."""

    def __init__(self, segments: Spool) -> None:
        self._batches = segments.batches()
        self._held: pa.RecordBatch | None = None

    def take_below(self, end: int) -> pa.Table:
        """Take the segments of the inputs before ``end``."""
        taken: list[pa.RecordBatch] = []
        while True:
            batch = self._held if self._held is not None else next(self._batches, None)
            self._held = None
            if batch is None:
                break
            place = int(np.searchsorted(batch.column(_INPUT).to_numpy(), end))
            taken.append(batch.slice(0, place))
            if place < batch.num_rows:
                self._held = batch.slice(place)
                break
        return pa.Table.from_batches(taken, _SEGMENTS)


def _images(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Make ``UNNUMBERED`` rows of the images in an ``ITEMS`` batch."""
    if pc.any(batch.column("is_video")).as_py():
        batch = batch.filter(pc.invert(batch.column("is_video")))
    known = dict(zip(batch.schema.names, batch.columns, strict=True))
    known["kind"] = pa.repeat(pa.scalar("image"), batch.num_rows)
    return pa.RecordBatch.from_arrays(
        [known.get(field.name, pa.nulls(batch.num_rows, field.type)) for field in UNNUMBERED],
        schema=UNNUMBERED,
    )


def _videos_of(listed: ItemSpool) -> Iterator[dict[str, Any]]:
    start = 0
    for batch in listed.batches():
        places = np.flatnonzero(batch.column("is_video").to_numpy(zero_copy_only=False))
        if len(places):
            rows = batch.take(pa.array(places)).to_pylist()
            for place, row in zip(places.tolist(), rows, strict=True):
                yield {**row, _INPUT: start + place}
        start += batch.num_rows


def _append_segments(
    segments: Spool,
    videos: list[dict[str, Any]],
    plan: Callable[[Sequence[str]], Videos],
) -> None:
    planned = plan([video["uri"] for video in videos])
    rows = (
        {**video, "kind": "video_segment", **row}
        for video in videos
        for row in _segment_rows(planned[video["uri"]])
    )
    while some := list(islice(rows, BATCH_ROWS)):
        segments.append(pa.RecordBatch.from_pylist(some, schema=_SEGMENTS))


def _segment_rows(video: PlannedVideo) -> Iterator[dict[str, Any]]:
    if not video.segments:  # one row says why the video is unusable
        problem = None if video.problem is None else _utf8_text(video.problem)
        yield {
            "width": None,
            "height": None,
            "first_frame": 0,
            "num_frames": 1,
            "sampling": EVERY_FRAME,
            "problem": problem,
        }
    for segment in video.segments:
        yield {
            "width": video.width,
            "height": video.height,
            "stream": segment.stream,
            "time_base_num": segment.time_base.numerator,
            "time_base_den": segment.time_base.denominator,
            "first_frame": segment.first_frame,
            "num_frames": segment.num_frames,
            "start_pts": segment.start_pts,
            "end_pts": segment.end_pts,
            "decode_from_pts": segment.decode_from_pts,
            "sampling": segment.sampling,
        }


def _utf8_text(text: str) -> str:
    """Escape the characters of a message that UTF-8 cannot encode."""
    return text.encode(errors="backslashreplace").decode()
