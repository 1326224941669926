"""Videos to measure on: generated, the same everywhere and every time; long ones by repetition."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from jobs.media.video import VideoSource, index_video

RATE = 25
_MARGIN_PX = 512  # how far the image may move over its canvas
_TEXTURE = ((2, 10.0), (8, 25.0), (32, 40.0), (128, 60.0))  # grain in pixels, and how strong it is
os.environ.setdefault("SVT_LOG", "1")  # its errors only

_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libx265": {"preset": "superfast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "10", "crf": "35", "svtav1-params": "lp=1"},
}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video to be made."""

    name: str
    codec: str
    width: int
    height: int
    num_frames: int
    gop: int = 50


CLIPS = (
    Clip(name="H.264 1080p.mp4", codec="libx264", width=1920, height=1080, num_frames=100),
    Clip(name="H.264 4K.mp4", codec="libx264", width=3840, height=2160, num_frames=40, gop=20),
    Clip(name="HEVC 1080p.mp4", codec="libx265", width=1920, height=1080, num_frames=60),
    Clip(name="VP9 1080p.webm", codec="libvpx-vp9", width=1920, height=1080, num_frames=60),
    Clip(name="AV1 1080p.mkv", codec="libsvtav1", width=1920, height=1080, num_frames=60),
)


def make(folder: Path, clip: Clip) -> Path:
    """Encode a camera's way over a canvas of noise of many grains, and a box that falls over it."""
    path = folder / clip.name
    canvas = _canvas(clip.width, clip.height)
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(clip.codec, rate=RATE, options=_OPTIONS[clip.codec])
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        stream.codec_context.gop_size = clip.gop
        stream.codec_context.thread_count = 1
        for number in range(clip.num_frames):
            x = round(_MARGIN_PX / 2 * (1 + 0.8 * np.sin(number / 40)))
            y = round(_MARGIN_PX / 2 * (1 + 0.8 * np.cos(number / 55)))
            image = canvas[y : y + clip.height, x : x + clip.width].copy()
            top, side = number * 9 % (clip.height // 2), clip.height // 4
            image[top : top + side, top : top + side] = (200, 30, 40)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    # For root, SVT-AV1 puts its caller, and all it starts, before everything else on the machine.
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def repeat(path: Path, target: Path, times: int) -> int:
    """Write a video's packets again and again, the times moved on; it begins with a key frame.

    Returns:
        Frames of the long video.
    """
    num_frames = index_video(VideoSource(str(path))).num_frames
    with av.open(str(target), "w") as file:
        stream = None
        for turn in range(times):
            with av.open(str(path)) as source:
                track = source.streams.video[0]
                assert track.time_base is not None
                stream = stream or file.add_stream_from_template(track)
                shift = round(turn * num_frames / RATE / track.time_base)
                for packet in source.demux(track):
                    if packet.size and packet.pts is not None and packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = stream
                        file.mux(packet)
    return num_frames * times


def _canvas(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    size = (width + _MARGIN_PX, height + _MARGIN_PX)
    canvas = np.full((size[1], size[0], 3), 128, np.float32)
    for grain, strength in _TEXTURE:
        shape = (size[1] // grain + 2, size[0] // grain + 2, 3)
        noise = rng.standard_normal(shape).astype(np.float32)
        canvas += strength * cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(canvas, 0, 255).astype(np.uint8)
