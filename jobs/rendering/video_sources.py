"""Finds a video of a run where it lies now, and checks that the run has read the same file."""

from __future__ import annotations

import numpy as np

from fcos_core.errors import VideoError
from jobs.inputs.relocated import relocate
from jobs.media.mp4 import VideoShape
from jobs.media.video import VideoIndex
from jobs.rendering.images import Status
from jobs.rendering.video_tasks import VideoWorkItem
from jobs.storage import absolute, storage_for


def current_uri(work: VideoWorkItem) -> str:
    """Return the uri where the video lies now; the run may have found it elsewhere.

    Raises:
        VideoError: there is no such file.
    """
    root = work.style.image_root
    if root is not None:
        return relocate(work.uri, absolute(root))
    if storage_for(work.uri).stat(work.uri) is None:
        raise VideoError(f"{work.uri}: no such file")
    return work.uri


def require_same_size(work: VideoWorkItem, uri: str) -> None:
    """Refuse a file of another size than the run has read.

    A retry reads a file of any size, and which size is not kept: after one, none is refused.

    Raises:
        VideoError: the number of bytes differs.
    """
    recovered = frozenset[int]().union(*(rows.recovered() for rows in work.shards.values()))
    if any(item.item_id in recovered for item in work.items):
        return
    had, info = work.items[0].size_bytes, storage_for(uri).stat(uri)
    if info is not None and had is not None and info.size_bytes != had:
        raise VideoError(f"{uri}: has {info.size_bytes} bytes, had {had}")


def require_same_frames(work: VideoWorkItem, index: VideoIndex) -> None:
    """Refuse a video with other frames than the run has read.

    Raises:
        VideoError: the size of the frames differs, or there are fewer frames.
    """
    first, last = work.items[0], work.items[-1]
    was, is_now = (first.width, first.height), (index.width, index.height)
    if None not in was and was != is_now:
        raise VideoError(f"{work.uri}: is {is_now[0]} x {is_now[1]}, was {was[0]} x {was[1]}")
    num_frames = 0 if last.last_frame is None else last.last_frame + 1
    if num_frames > index.num_frames:
        raise VideoError(f"{work.uri}: has {index.num_frames} frames, had {num_frames} at least")


def status_of_unusable(work: VideoWorkItem) -> Status:
    """Return ``quarantined`` for a video that the run could not use either, else ``changed``."""
    shards = [rows.read() for rows in work.shards.values()]
    ids = {item.item_id for item in work.items}
    was_used = any(row.status == "ok" for rows in shards for row in rows if row.item_id in ids)
    return "changed" if was_used else "quarantined"


def end_pts_of(shape: VideoShape, index: VideoIndex) -> int:
    """Return the ticks when the last frame ends.

    Where the source does not say it, the last frame lasts as long as the median frame.
    """
    last = int(index.timestamps[-1])
    if shape.end_pts is not None and shape.end_pts > last:
        return shape.end_pts
    steps = np.diff(index.timestamps)
    return last + (int(np.median(steps)) if len(steps) else 1)
