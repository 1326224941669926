"""Indexes the videos of a run before its manifest is written: in processes that may die.

What a damaged file does to a demuxer or decoder must not end the driver. So videos are indexed by
child processes, some at once; one that dies or hangs costs a video its place in the run, and that
only after others died of it with nothing before it. On a cluster Ray tasks start the children.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from fcos_core.errors import ConfigError, StorageError
from jobs.inputs.video_frames import PlannedVideo, plan_video
from jobs.media.video import Sampling
from jobs.parallel.cores import num_cores
from jobs.parallel.map_blocks import TaskCrashed, map_blocks, map_blocks_in_child
from jobs.storage import storage_for

_log = logging.getLogger(__name__)

SEGMENT_ROWS = 256
"""Frames of a segment, at least: some ten seconds of video, and some seconds of work."""

_BLOCK_VIDEOS = 16  # a child is started for so many
_RAY_FROM_VIDEOS = 64  # below, a cluster's tasks cost more than they bring
_VIDEO_S, _SLOWEST_BYTES_PER_S = 600.0, 100_000.0  # a stream may have to be decoded to be counted


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """What to do with each video.

    Attributes:
        stream: index of a stream in its file; None takes the best.
        sampling: which frames to look at.
        rows_per_segment: see ``plan_video``.
    """

    stream: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    rows_per_segment: int = SEGMENT_ROWS


def plan_videos(
    uris: Sequence[str], request: VideoRequest, *, address: str | None
) -> dict[str, PlannedVideo]:
    """Index and cut videos.

    Args:
        uris: of the videos.
        request: what to do with each.
        address: of a Ray cluster, which shares the work where there is enough of it.

    Returns:
        What became of each; also of those that cannot be used.

    Raises:
        ConfigError: the storage fails.
    """
    blocks = [uris[i : i + _BLOCK_VIDEOS] for i in range(0, len(uris), _BLOCK_VIDEOS)]
    function = partial(_plan_block, request)
    planned: dict[str, PlannedVideo] = {}
    try:
        if address is not None and len(uris) >= _RAY_FROM_VIDEOS:
            results = map_blocks(function, blocks, num_workers=None, address=address)
            found = [one for block in results for one in block]
        else:
            smaller = [[uri] for uri in uris] if len(uris) <= num_cores() else blocks
            with ThreadPoolExecutor(max(1, num_cores())) as pool:
                found = [one for block in pool.map(function, smaller) for one in block]
    except StorageError as error:
        raise ConfigError(f"input cannot be read: {error}") from error
    for uri, one in zip(uris, found, strict=True):
        planned[uri] = one
        if one.note is not None:
            _log.warning("%s", one.note)
    return planned


def plan_alone(uri: str) -> PlannedVideo:
    """Index one video, whatever its stream, in a child of its own."""
    (planned,) = _plan_block(VideoRequest(), [uri])
    return planned


def _plan_block(request: VideoRequest, uris: Sequence[str]) -> list[PlannedVideo]:
    """Index some videos in a child, and in other ones those that it died of."""
    plan = partial(
        plan_video,
        stream=request.stream,
        sampling=request.sampling,
        rows_per_segment=request.rows_per_segment,
    )
    planned = map_blocks_in_child(plan, uris, limit_s=_limit_s)
    return [_unusable(one) if isinstance(one, TaskCrashed) else one for one in planned]


def _limit_s(uri: str) -> float:
    info = storage_for(uri).stat(uri)
    return _VIDEO_S + (0 if info is None else info.size_bytes / _SLOWEST_BYTES_PER_S)


def _unusable(died: TaskCrashed[str]) -> PlannedVideo:
    note = f"{died.block}: {died.reason}"
    return PlannedVideo(width=None, height=None, segments=(), note=note)
