"""A serial decode by PyAV alone, and the frames of segments, to be compared."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation

from jobs.media.video import Frame, Segment, VideoSource, decode_segment

FLAGS = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()


def serial(path: Path, stream: int, turns: int = 0) -> Iterator[tuple[int, float, str]]:
    """Decode a video from the start with PyAV's own loop, without our code."""
    with av.open(str(path)) as container:
        chosen = container.streams[stream]
        for frame in container.decode(chosen):
            converted = frame.reformat(
                format="gbrp", interpolation=FLAGS, dst_color_range=ColorRange.JPEG
            )
            pixels = np.rot90(converted.to_ndarray(), turns)
            assert frame.pts is not None
            assert chosen.time_base
            yield frame.pts, float(frame.pts * chosen.time_base), digest(pixels)


def serial_digests(path: Path) -> list[str]:
    return [found for _, _, found in serial(path, 0)]


def frames_of(path: Path, segments: list[Segment]) -> list[Frame]:
    """Decode segments, none of whose frames may be lost."""
    events = [event for one in segments for event in decode_segment(VideoSource(str(path)), one)]
    frames = [event for event in events if isinstance(event, Frame)]
    assert len(frames) == len(events), events
    return frames
