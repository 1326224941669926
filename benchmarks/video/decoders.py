"""The decoders that ``bench_video.py`` compares: each gives a video's frames as RGB arrays."""

# pyright: reportMissingImports=false, reportPrivateImportUsage=false
# pyright: reportUnknownVariableType=false
# torchcodec is installed by make bench only

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation

from jobs.media.video import Frame, Segment, VideoSource, decode_segment, index_video, split
from jobs.media.video.source import open_container

EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
SPLIT = 2

Decode = Callable[[], Iterator[np.ndarray]]


def ours(source: VideoSource, segments: Sequence[Segment]) -> Iterator[np.ndarray]:
    """Decode part after part."""
    for segment in segments:
        for event in decode_segment(source, segment):
            assert isinstance(event, Frame), event
            yield event.pixels


def pyav(path: Path, *, threads: int = 1) -> Iterator[np.ndarray]:
    """The loop of PyAV's documentation."""
    for frame in _frames(path, threads):
        yield frame.to_ndarray(format="rgb24")


def pyav_exact(path: Path, target: str = "rgb24") -> Iterator[np.ndarray]:
    """The same with our flags, to RGB, or to planes that PyAV weaves into RGB."""
    for frame in _frames(path, 1):
        yield frame.to_ndarray(
            format=target, interpolation=EXACT, dst_color_range=ColorRange.JPEG, threads=1
        )


def _frames(path: Path, threads: int) -> Iterator[av.VideoFrame]:
    with open_container(VideoSource(str(path)), None) as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = threads
        if threads != 1:
            stream.codec_context.thread_type = "AUTO"
        yield from file.decode(stream)


def opencv(path: Path) -> Iterator[np.ndarray]:
    """``VideoCapture``, and its BGR made RGB."""
    parameters = [cv2.CAP_PROP_N_THREADS, 1]
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, parameters)
    while True:
        is_read, pixels = capture.read()
        if not is_read:
            break
        yield cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    capture.release()


def torchcodec(path: Path) -> Iterator[np.ndarray]:
    """Every frame in turn, as height x width x 3."""
    from torchcodec.decoders import VideoDecoder

    decoder: Any = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    for frame in decoder:
        yield frame.numpy()


def contestants(path: Path) -> Mapping[str, Decode]:
    """Give all that can run here, ours first."""
    source = VideoSource(str(path))
    index = index_video(source)
    whole, parts = split(index, 1), split(index, SPLIT)
    found: dict[str, Decode] = {
        "ours": lambda: ours(source, whole),
        f"ours, {SPLIT} segments": lambda: ours(source, parts),
        "ours, and its index": lambda: ours(source, split(index_video(source), 1)),
        "PyAV, our flags": lambda: pyav_exact(path),
        "PyAV": lambda: pyav(path),
        "PyAV, all threads": lambda: pyav(path, threads=0),
        "OpenCV": lambda: opencv(path),
    }
    if find_spec("torchcodec") is not None:
        found["torchcodec"] = lambda: torchcodec(path)
    return found
