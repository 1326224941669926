"""Videos that a browser plays: frames to H.264 in parts, the parts and the sound into one mp4.

``encode`` turns frames into a part that begins with a key frame; ``Mp4Writer`` joins the parts
without encoding them again, and adds the sound. Times, pixel aspect and orientation are the
source's (``VideoShape``); see ``docs/render.md``.
"""

from jobs.media.mp4.audio import SoundTrack, open_sound
from jobs.media.mp4.h264 import EncodedPart, encode
from jobs.media.mp4.mp4 import Mp4Writer
from jobs.media.mp4.shape import VideoShape, read_shape

__all__ = [
    "EncodedPart",
    "Mp4Writer",
    "SoundTrack",
    "VideoShape",
    "encode",
    "open_sound",
    "read_shape",
]
