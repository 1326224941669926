"""The results of decoding: frames, and losses."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame with its pixels.

    Attributes:
        index: place in the stream, in the order frames are shown, from 0.
        pts: when the frame is shown, in ticks of the stream.
        timestamp_s: when the frame is shown, in seconds; the first frame's need not be 0.
        pixels: height x width x 3, RGB, 8 bits, upright, C-contiguous.
    """

    index: int
    pts: int
    timestamp_s: float
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Lost:
    """Frames of one group (a key frame and those that follow it) that cannot be decoded.

    Attributes:
        first: place of the first lost frame.
        last: place of the last lost frame; all wanted frames between the two are lost too.
        pts: when the first lost frame is shown, in ticks; None if unknown.
        timestamp_s: when the first lost frame is shown, in seconds; None if unknown.
        reason: the decoder's message.
    """

    first: int
    last: int
    pts: int | None
    timestamp_s: float | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A decoded frame that is not yet converted to pixels."""

    index: int
    pts: int
    frame: VideoFrame


def seconds(pts: int, time_base: Fraction) -> float:
    """Convert ticks to seconds, rounded once."""
    return pts * time_base.numerator / time_base.denominator
