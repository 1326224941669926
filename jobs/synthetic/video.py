"""Write a generated video: H.264 in mp4, the same bytes for the same seed and libraries."""

# pyright: reportUnknownMemberType=false
# PyAV leaves what an encoder gives partly unknown

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from jobs.synthetic.motion import draw_motion
from jobs.synthetic.scene import SceneObject
from jobs.synthetic.texture import SIZE_PX

FRAMES_PER_S = 24
FRAMES_PER_GROUP = 24
"""One key frame a second, where a video can be cut."""

_TICK = Fraction(1, 24 * 512)
# With B-frames, as in files of cameras and editors: frames are not shown in file order.
_OPTIONS = {"preset": "medium", "crf": "18", "bf": "2", "sc_threshold": "0"}


def write_video(path: Path, rng: np.random.Generator, num_frames: int) -> list[list[SceneObject]]:
    """Draw and encode a video, and return the objects of each frame; an older file is replaced."""
    seen: list[list[SceneObject]] = []
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_S, options=_OPTIONS)
        stream.width = stream.height = SIZE_PX
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = _TICK
        context.gop_size = FRAMES_PER_GROUP
        context.thread_count = 1
        for number, (image, objects) in enumerate(draw_motion(rng, num_frames)):
            frame = VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts = int(number / FRAMES_PER_S / _TICK)
            frame.time_base = _TICK
            container.mux(stream.encode(frame))
            seen.append(objects)
        container.mux(stream.encode(None))
    return seen
