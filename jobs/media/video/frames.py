"""What comes out of decoding: a frame, or word of frames that are lost."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame, ready to be looked at.

    Attributes:
        index: its place in the stream, in the order frames are shown, from 0.
        pts: when it is shown, in ticks of the stream.
        timestamp_s: the same in seconds; the first frame's need not be 0.
        pixels: height x width x 3, RGB, 8 bits, upright, C-contiguous.
    """

    index: int
    pts: int
    timestamp_s: float
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Lost:
    """Frames of one group of images that cannot be decoded.

    Attributes:
        first: place of the first of them.
        last: place of the last; all that are wanted from the first to this one are lost.
        pts: when the first is shown, in ticks; None if unknown.
        timestamp_s: the same in seconds.
        reason: what the decoder said.
    """

    first: int
    last: int
    pts: int | None
    timestamp_s: float | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A frame as the decoder gives it, before it has pixels."""

    index: int
    pts: int
    frame: VideoFrame


def seconds(pts: int, time_base: Fraction) -> float:
    """Turn ticks into seconds, rounded once."""
    return pts * time_base.numerator / time_base.denominator
