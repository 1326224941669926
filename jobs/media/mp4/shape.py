"""The properties that a drawn video shares with its source: size, pixel aspect and orientation.

Frames are stored in the source's orientation, with the source's display matrix, so that every
player and tool shows both alike. Detections are drawn on upright frames.
"""

# pyright: reportUnknownMemberType=false
# PyAV leaves what an encoder or a template gives partly unknown

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import cv2
import numpy as np
from av.error import FFmpegError

from fcos_core.errors import VideoError
from jobs.media.video.pixel_pool import Pixels
from jobs.media.video.rotation import display_matrix, stored_matrix
from jobs.media.video.source import OpenVideo, VideoSource, open_video


@dataclass(frozen=True, kw_only=True)
class VideoShape:
    """How the frames of a video are stored.

    Attributes:
        width: pixels of stored frames; even, as H.264 with 4:2:0 colour needs it.
        height: pixels of stored frames; even.
        time_base: seconds of a tick.
        aspect: width of a pixel by its height.
        turn: signs of the display matrix (``jobs.media.video.rotation``); None for upright frames.
        matrix: the display matrix, nine numbers as in mp4; None where the source has none.
        end_pts: ticks when the last frame ends, from the source's header; None if unknown.
    """

    width: int
    height: int
    time_base: Fraction
    aspect: Fraction
    turn: tuple[int, int, int, int] | None
    matrix: tuple[int, ...] | None
    end_pts: int | None

    def stored(self, upright: Pixels) -> Pixels:
        """Turn an upright frame into the orientation and size in which it is stored.

        A frame of odd size gets its last column or row twice. An mp4 holds one size only, so a
        frame of another size than the first is scaled.
        """
        pixels = upright
        if self.turn is not None:
            a, b, c, d = self.turn
            x, y = (a, d) if a else (c, b)
            pixels = pixels[::y, ::x]
            if not a:
                pixels = pixels.transpose(1, 0, 2)
        height, width = pixels.shape[:2]
        missing = (self.height - height, self.width - width)
        if missing != (0, 0):
            pixels = np.ascontiguousarray(pixels)
            if set(missing) <= {0, 1}:
                return _uint8(
                    cv2.copyMakeBorder(pixels, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
                )
            size = (self.width, self.height)
            return _uint8(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        return np.ascontiguousarray(pixels)


def read_shape(source: VideoSource, *, stream: int) -> VideoShape:
    """Read how a stream's frames are stored, from the first frame that can be decoded.

    Raises:
        VideoError: no frame can be decoded.
    """
    with open_video(source, stream=stream) as video:
        for packet in chain(video.packets(), [None]):
            try:
                frames = video.context.decode(packet)
            except (FFmpegError, ValueError):
                continue
            if frames:
                first = frames[0]
                start, duration = video.stream.start_time, video.stream.duration
                return VideoShape(
                    width=first.width + first.width % 2,
                    height=first.height + first.height % 2,
                    time_base=video.time_base,
                    aspect=_aspect(video),
                    turn=display_matrix(first),
                    matrix=stored_matrix(first),
                    end_pts=None if duration is None else (start or 0) + duration,
                )
    raise VideoError(f"{source.uri}: none of its frames can be decoded")


def _aspect(video: OpenVideo) -> Fraction:
    own = video.stream.sample_aspect_ratio or video.context.sample_aspect_ratio
    return own or Fraction(1)


def _uint8(pixels: object) -> Pixels:
    return np.ascontiguousarray(pixels, np.uint8)
