"""Where a video of a run lies now, and whether it is still the one the run has looked at."""

from __future__ import annotations

import numpy as np

from fcos_core.errors import VideoError
from jobs.inputs.relocated import relocate
from jobs.media.mp4 import VideoShape
from jobs.media.video import VideoIndex
from jobs.rendering.images import Fate
from jobs.rendering.video_tasks import VideoOrder
from jobs.storage import absolute, storage_for


def place_of(order: VideoOrder) -> str:
    """Say where the video lies now, which need not be where the run found it.

    Raises:
        VideoError: nowhere.
    """
    root = order.look.image_root
    if root is not None:
        return relocate(order.uri, absolute(root))
    if storage_for(order.uri).stat(order.uri) is None:
        raise VideoError(f"{order.uri}: no such file")
    return order.uri


def require_same_size(order: VideoOrder, uri: str) -> None:
    """Refuse a file that is not the one the run has looked at.

    Raises:
        VideoError: it has another number of bytes.
    """
    had, info = order.items[0].size_bytes, storage_for(uri).stat(uri)
    if info is not None and had is not None and info.size_bytes != had:
        raise VideoError(f"{uri}: has {info.size_bytes} bytes, had {had}")


def require_same_frames(order: VideoOrder, index: VideoIndex) -> None:
    """Refuse a video whose frames are not those the run has looked at.

    Raises:
        VideoError: what differs.
    """
    first, last = order.items[0], order.items[-1]
    was, is_now = (first.width, first.height), (index.width, index.height)
    if None not in was and was != is_now:
        raise VideoError(f"{order.uri}: is {is_now[0]} x {is_now[1]}, was {was[0]} x {was[1]}")
    num_frames = 0 if last.last_frame is None else last.last_frame + 1
    if num_frames > index.num_frames:
        raise VideoError(f"{order.uri}: has {index.num_frames} frames, had {num_frames} at least")


def fate_of_unusable(order: VideoOrder) -> Fate:
    """Whether the run could not use a video either."""
    shards = [rows.read() for rows in order.shards.values()]
    ids = {item.item_id for item in order.items}
    was_used = any(row.status == "ok" for rows in shards for row in rows if row.item_id in ids)
    return "changed" if was_used else "quarantined"


def end_pts_of(shape: VideoShape, index: VideoIndex) -> int:
    """Ticks when the last frame is over: as the source says, or a usual frame later."""
    last = int(index.timestamps[-1])
    if shape.end_pts is not None and shape.end_pts > last:
        return shape.end_pts
    steps = np.diff(index.timestamps)
    return last + (int(np.median(steps)) if len(steps) else 1)
