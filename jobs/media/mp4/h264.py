"""Frames to H.264 that every browser plays: yuv420p, BT.709, without B-frames.

Without B-frames, frames are decoded in the order they are shown. So uneven times are kept exactly,
and parts that were encoded separately join without a seam. The file is somewhat larger.
"""

# pyright: reportUnknownMemberType=false
# PyAV leaves what an encoder or a template gives partly unknown

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    VideoReformatter,
)

from jobs.media.mp4.shape import VideoShape
from jobs.media.video.pixel_pool import Pixels
from jobs.media.video.rotation import EXACT

_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "profile": "high"}
_BT709 = 1


@dataclass(frozen=True, kw_only=True)
class EncodedPart:
    """Consecutive frames, encoded as an mp4 file whose first frame is shown at 0.

    ``start_pts`` is when that frame is shown in the whole video, in ticks.
    """

    mp4: bytes
    start_pts: int
    num_frames: int


def encode(frames: Iterable[tuple[int, Pixels]], shape: VideoShape) -> EncodedPart | None:
    """Encode frames, one at a time in memory, on one core; several parts run in parallel.

    Each frame comes as its ticks, which rise, and its upright pixels. The shape is the same for all
    parts of a video. Without frames there is no part.
    """
    file = io.BytesIO()
    start_pts: int | None = None
    num_frames = 0
    reformatter = VideoReformatter()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", options=_OPTIONS)
        _set_up(stream.codec_context, shape)
        stream.time_base = shape.time_base
        for pts, pixels in frames:
            start_pts = pts if start_pts is None else start_pts
            frame = VideoFrame.from_ndarray(shape.stored(pixels), format="rgb24")
            frame = reformatter.reformat(
                frame,
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=EXACT,
                threads=1,
            )
            frame.pts, frame.time_base = pts - start_pts, shape.time_base
            container.mux(stream.encode(frame))
            num_frames += 1
        if start_pts is None:
            return None
        container.mux(stream.encode(None))
    return EncodedPart(mp4=file.getvalue(), start_pts=start_pts, num_frames=num_frames)


def _set_up(context: VideoCodecContext, shape: VideoShape) -> None:
    context.width, context.height = shape.width, shape.height
    context.pix_fmt = "yuv420p"
    context.time_base = shape.time_base
    # The rate only guides the bit budget; times come from the frames.
    context.framerate = Fraction(30)
    context.sample_aspect_ratio = shape.aspect
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.colorspace = _BT709
    context.color_range = ColorRange.MPEG
    context.thread_count = 1
