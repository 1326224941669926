"""Cuts a video's index into segments that are decoded independently of each other."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from jobs.media.video.index import VideoIndex
from jobs.media.video.sampling import Sampling
from jobs.rundir.sampled_frames import EVERY_FRAME, write_sampling


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Consecutive frames of a video, and where decoding begins.

    Attributes:
        stream: index of the stream in its file.
        time_base: seconds of a tick.
        first_frame: place of the first frame, in the order they are shown.
        num_frames: number of frames in the segment; with sampling, of those taken.
        start_pts: ticks when the first frame is shown.
        end_pts: ticks when the last frame is shown.
        decode_from_pts: ticks of the key frame to begin at; None to begin at the start and count.
        sampling: the frames taken, as ``jobs.rundir.sampled_frames`` writes them.
    """

    stream: int
    time_base: Fraction
    first_frame: int
    num_frames: int
    start_pts: int
    end_pts: int
    decode_from_pts: int | None
    sampling: str


def split(
    index: VideoIndex, num_segments: int, *, sampling: Sampling | None = None
) -> list[Segment]:
    """Cut a video into so many segments at most, of about equal length where key frames allow it.

    Without a sampling all frames are taken. Segments are in order, each with at least one frame.
    """
    assert num_segments > 0
    return _cut(index, -(-index.num_frames // num_segments), sampling or Sampling())


def split_by_length(
    index: VideoIndex, num_rows: int, *, sampling: Sampling | None = None
) -> list[Segment]:
    """Cut a video at key frames into segments of at least some number of frames that are taken.

    Only the last may have fewer. Without a sampling all frames are taken.
    """
    sampling = sampling or Sampling()
    taken = len(sampling.choose(index.timestamps, index.time_base))
    return _cut(index, num_rows * max(1, index.num_frames // max(1, taken)), sampling)


def _cut(index: VideoIndex, num_frames: int, sampling: Sampling) -> list[Segment]:
    starts = [0]
    for entry in index.entries:
        if entry.frame - starts[-1] >= num_frames:
            starts.append(entry.frame)
    decode_from = {entry.frame: entry.pts for entry in index.entries}
    chosen = sampling.choose(index.timestamps, index.time_base)
    segments: list[Segment] = []
    for start, end in zip(starts, [*starts[1:], index.num_frames], strict=True):
        frames = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, end)]
        if not len(frames):
            continue
        pts = index.timestamps[frames]
        segments.append(
            Segment(
                stream=index.stream,
                time_base=index.time_base,
                first_frame=int(frames[0]),
                num_frames=len(frames),
                start_pts=int(pts[0]),
                end_pts=int(pts[-1]),
                decode_from_pts=decode_from.get(start),
                sampling=EVERY_FRAME if sampling.takes_all else write_sampling(frames, pts),
            )
        )
    return segments
