"""From a decoded frame to upright RGB pixels, the same on every machine."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from jobs.media.video.source import check_size

_FLAGS = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""The same sums on every processor; without them some have short cuts of their own."""


class Upright:
    """Turns frames into pixels; keeps what depends on their format from one to the next."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Convert one frame.

        Args:
            frame: as decoded.

        Returns:
            Height x width x 3, RGB, 8 bits, upright, C-contiguous.
        """
        check_size(frame.width, frame.height)
        converted = self._reformatter.reformat(
            frame,
            format="rgb24",
            interpolation=_FLAGS,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        pixels: npt.NDArray[Any] = converted.to_ndarray()
        return np.ascontiguousarray(_turned(pixels, display_matrix(frame)), np.uint8)


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """Read how a frame is to be shown: the signs of a, b, c, d in x' = a x + c y, y' = b x + d y.

    Returns:
        Each -1, 0 or 1, to the nearest quarter turn; None where nothing is to be done.
    """
    sides = cast("Iterable[SideData]", frame.side_data)  # PyAV's types say that it gives keys
    data = next((side for side in sides if side.type == Type.DISPLAYMATRIX), None)
    if data is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
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
    """Say how wide and high a frame is once it is upright."""
    matrix = display_matrix(frame)
    is_on_its_side = matrix is not None and not matrix[0]
    return (frame.height, frame.width) if is_on_its_side else (frame.width, frame.height)


def _turned(
    pixels: npt.NDArray[np.uint8], matrix: tuple[int, int, int, int] | None
) -> npt.NDArray[np.uint8]:
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if not a:  # x and y change places: x' = c y, y' = b x
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    return pixels[:: d or 1, :: a or 1]


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
