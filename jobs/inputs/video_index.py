"""Indexes the videos of a run before its manifest is written, and cuts them into segments.

A damaged file may crash the demuxer or decoder, which must not end the driver. So child processes
index the videos, several at once. A video whose child crashes or hangs is retried in new children;
when these fail too, it has no segments. On a cluster Ray tasks start the children.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from fcos_core.errors import ConfigError, StorageError, VideoError
from jobs.inputs.video_source import video_source
from jobs.media.video import Sampling, Segment, index_video
from jobs.media.video.segments import split_by_length
from jobs.parallel.cores import num_cores
from jobs.parallel.map_blocks import TaskCrashed, map_blocks, map_blocks_in_child
from jobs.storage import storage_for
from jobs.waiting import waiting

_log = logging.getLogger(__name__)

SEGMENT_ROWS = 256
"""The least number of frames in a segment: ten seconds of video, and some seconds of work."""

_BLOCK_VIDEOS = 16  # indexed by one child
_RAY_FROM_VIDEOS = 64  # for fewer, starting a cluster's tasks takes longer than the work
_VIDEO_S, _SLOWEST_BYTES_PER_S = 600.0, 100_000.0  # a stream may have to be decoded to be counted


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """How each video is indexed and cut.

    Attributes:
        stream: index of a stream in its file; None takes the best.
        sampling: the frames to take.
        rows_per_segment: the least number of frames taken in a segment; the last may have fewer.
    """

    stream: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    rows_per_segment: int = SEGMENT_ROWS


@dataclass(frozen=True, kw_only=True)
class PlannedVideo:
    """What a manifest needs to know of a video.

    Attributes:
        width: pixels of the first frame, upright; None if the video cannot be used.
        height: pixels of the first frame, upright; None if the video cannot be used.
        segments: the parts to be decoded; none if the video cannot be used.
        problem: why the video cannot be used; None if it can.
        note: a warning for the user: why the video cannot be split, or where it ends; None when
            there is none.
    """

    width: int | None
    height: int | None
    segments: tuple[Segment, ...]
    problem: str | None = None
    note: str | None = None


def plan_videos(
    uris: Sequence[str], request: VideoRequest, *, address: str | None
) -> dict[str, PlannedVideo]:
    """Index videos and cut them into segments; a plan per uri, also for videos that are unusable.

    From 64 videos on the Ray cluster at ``address`` is used; None is for this machine only.

    Raises:
        ConfigError: the storage fails.
    """
    blocks = [uris[i : i + _BLOCK_VIDEOS] for i in range(0, len(uris), _BLOCK_VIDEOS)]
    function = partial(_plan_block, request)
    planned: dict[str, PlannedVideo] = {}
    found: list[PlannedVideo] = []
    try:
        with waiting(lambda: f"indexing videos: {len(found)} of {len(uris)} so far"):
            if address is not None and len(uris) >= _RAY_FROM_VIDEOS:
                results = map_blocks(function, blocks, num_workers=None, address=address)
                for block in results:
                    found.extend(block)
            else:
                smaller = [[uri] for uri in uris] if len(uris) <= num_cores() else blocks
                with ThreadPoolExecutor(max(1, num_cores())) as pool:
                    for block in pool.map(function, smaller):
                        found.extend(block)
    except StorageError as error:
        raise ConfigError(f"input cannot be read: {error}") from error
    for uri, one in zip(uris, found, strict=True):
        planned[uri] = one
        warning = one.problem or one.note
        if warning is not None:
            _log.warning("%s", warning)
    return planned


def plan_video(request: VideoRequest, uri: str) -> PlannedVideo:
    """Index a video and cut it into segments."""
    try:
        index = index_video(video_source(uri), stream=request.stream)
    except VideoError as error:
        return _unusable(str(error))
    notes: list[str] = []
    if index.serial_because is not None:
        notes.append(f"{uri}: is decoded as one segment: {index.serial_because}")
    if index.damage is not None:
        notes.append(f"{uri}: ends after {index.num_frames} frames: {index.damage}")
    segments = split_by_length(index, request.rows_per_segment, sampling=request.sampling)
    return PlannedVideo(
        width=index.width,
        height=index.height,
        segments=tuple(segments),
        note="; ".join(notes) or None,
    )


def plan_alone(uri: str) -> PlannedVideo:
    """Index the best stream of one video, in a child process."""
    (planned,) = _plan_block(VideoRequest(), [uri])
    return planned


def _plan_block(request: VideoRequest, uris: Sequence[str]) -> list[PlannedVideo]:
    """Index videos in a child process; a video that crashes it is retried in new ones."""
    planned = map_blocks_in_child(partial(plan_video, request), uris, limit_s=_limit_s)
    return [
        _unusable(f"{one.block}: {one.reason}") if isinstance(one, TaskCrashed) else one
        for one in planned
    ]


def _limit_s(uri: str) -> float:
    info = storage_for(uri).stat(uri)
    return _VIDEO_S + (0 if info is None else info.size_bytes / _SLOWEST_BYTES_PER_S)


def _unusable(problem: str) -> PlannedVideo:
    return PlannedVideo(width=None, height=None, segments=(), problem=problem)
