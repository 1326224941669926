"""From a decoded frame to upright RGB pixels, the same on every machine."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import cast

import cv2
import numpy as np
from av.sidedata.sidedata import SideData, SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from jobs.media.video.pixel_pool import PixelPool, Pixels
from jobs.media.video.source import check_size

EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""These flags give the same sums on every processor; without them some take short cuts."""

_PLANES = "gbrp"
"""The format that swscale makes: its vector code for planes keeps to these sums; RGB has none."""


def _unknown_type(cls: type[Type], value: object) -> Type:
    """Make a member for a kind of side data that PyAV's list lacks, as PyAV 19 does by itself."""
    member = object.__new__(cls)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return member


if "_missing_" not in vars(Type):
    # Up to 18, PyAV raises at side data that its FFmpeg knows and its list lacks, such as EXIF.
    Type._missing_ = classmethod(_unknown_type)  # pyright: ignore[reportAttributeAccessIssue]

_FLIPS = {(1, -1): 1, (-1, 1): 0, (-1, -1): -1}  # signs of y and x, and OpenCV's names for them


class FrameConverter:
    """Converts frames to upright RGB pixels; it keeps swscale's tables between frames.

    ``threads`` share one frame; their number changes no pixel.
    """

    def __init__(self, threads: int = 1) -> None:
        self._reformatter = VideoReformatter()
        self._threads = threads
        self._pool = PixelPool()
        self._last: VideoFrame | None = None

    def convert(self, frame: VideoFrame) -> Pixels:
        """Convert one frame to height x width x 3, RGB, 8 bits, upright, C-contiguous."""
        check_size(frame.width, frame.height)
        converted = self._reformatter.reformat(
            frame,
            format=_PLANES,
            interpolation=EXACT,
            dst_color_range=ColorRange.JPEG,
            threads=self._threads,
        )
        self._last = converted  # kept until the next frame, so that its memory is used again
        green, blue, red = _planes(converted)
        pixels = self._pool.acquire((frame.height, frame.width, 3))
        cv2.merge((red, green, blue), pixels)
        return _turned(pixels, display_matrix(frame))


def stored_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """Read a frame's display matrix, nine numbers as in mp4; None without one."""
    # frame.side_data would form a reference cycle, which keeps the frame until Python collects it.
    sides = cast("Callable[[VideoFrame], Mapping[Type, SideData]]", SideDataContainer)(frame)
    data = sides.get(Type.DISPLAYMATRIX)
    return None if data is None else struct.unpack("=9i", bytes(data))


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """Read how a frame is to be shown: the signs of a, b, c, d in x' = a x + c y, y' = b x + d y.

    Returns:
        Each -1, 0 or 1, to the nearest quarter turn; None for a frame that is upright.
    """
    matrix = stored_matrix(frame)
    if matrix is None:
        return None
    a, b, _, c, d, *_ = matrix
    if abs(a) + abs(d) >= abs(b) + abs(c):
        signs = (_sign(a), 0, 0, _sign(d))
    else:
        signs = (0, _sign(b), _sign(c), 0)
    return (
        None
        if signs == (1, 0, 0, 1) or 0 in (signs[0] or signs[1], signs[3] or signs[2])
        else signs
    )


def upright_size(frame: VideoFrame) -> tuple[int, int]:
    """Give the width and height of a frame once it is upright."""
    matrix = display_matrix(frame)
    is_sideways = matrix is not None and not matrix[0]
    return (frame.height, frame.width) if is_sideways else (frame.width, frame.height)


def _planes(frame: VideoFrame) -> list[Pixels]:
    """View the planes of a frame without a copy; rows in memory may be longer than the frame."""
    return [
        np.ndarray(
            (frame.height, frame.width), np.uint8, memoryview(plane), strides=(plane.line_size, 1)
        )
        for plane in frame.planes
    ]


def _turned(pixels: Pixels, matrix: tuple[int, int, int, int] | None) -> Pixels:
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if not a:  # x and y change places: x' = c y, y' = b x
        pixels = cast("Pixels", cv2.transpose(pixels))
        a, d = c, b
    flip = _FLIPS.get((d or 1, a or 1))
    return pixels if flip is None else cast("Pixels", cv2.flip(pixels, flip))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
