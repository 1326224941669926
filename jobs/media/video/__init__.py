"""Videos, frame by frame and in parallel: index the packets, cut at key frames, decode each part.

``index_video`` reads every packet and decodes only the first few; ``split`` cuts the index into
segments; ``decode_segment`` gives a segment's frames. The frames of all segments in order equal
those of the whole video in number, places, times and pixels, wherever it was cut.
See ``docs/video.md``.
"""

from jobs.media.video.decoding import decode_segment
from jobs.media.video.frames import Frame, Lost
from jobs.media.video.index import VideoIndex, index_video
from jobs.media.video.sampling import Sampling
from jobs.media.video.segments import Segment, split
from jobs.media.video.source import VideoSource

__all__ = [
    "Frame",
    "Lost",
    "Sampling",
    "Segment",
    "VideoIndex",
    "VideoSource",
    "decode_segment",
    "index_video",
    "split",
]
