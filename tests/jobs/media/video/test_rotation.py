"""Pixels of a frame: exact, upright, and the same for any number of threads and any processor."""

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation

from jobs.media.video.pixel_pool import PixelPool
from jobs.media.video.rotation import FrameConverter, _turned
from tests.jobs.media.video.making import Recipe, write_video

EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
FORMATS = ("yuv420p", "yuvj420p", "yuv422p10le", "yuv444p", "nv12", "gray", "gbrp", "bgr24", "pal8")
SIZES = ((641, 363), (64, 48), (1, 1))
MATRICES = [
    (a, b, c, d)
    for a, b, c, d in np.ndindex(3, 3, 3, 3)
    if (a != 1 and d != 1 and b == c == 1) or (b != 1 and c != 1 and a == d == 1)
]  # 0, 1, 2 stand for -1, 0, 1: the eight orientations of an image


def noise(pix_fmt: str, size: tuple[int, int]) -> VideoFrame:
    rng = np.random.default_rng(1)
    frame = VideoFrame(*size, pix_fmt)
    for plane in frame.planes:
        values = rng.integers(0, 256, plane.buffer_size, np.uint8)
        if "10le" in pix_fmt:
            values[1::2] &= 3
        plane.update(values.tobytes())
    return frame


@contextmanager
def plain_processor() -> Generator[None]:
    """Hide the vector instructions from FFmpeg, as on a processor that it does not know."""
    libraries = list((Path(av.__file__).parents[1] / "av.libs").glob("libavutil*"))
    if not libraries:
        pytest.skip("this PyAV brings no libavutil of its own")
    libavutil = ctypes.CDLL(str(libraries[0]))
    found = libavutil.av_get_cpu_flags()
    libavutil.av_force_cpu_flags(0)
    try:
        yield
    finally:
        libavutil.av_force_cpu_flags(found)


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_ffmpegs_exact_conversion(pix_fmt: str, size: tuple[int, int]) -> None:
    frame = noise(pix_fmt, size)
    expected = frame.to_ndarray(
        format="gbrp", interpolation=EXACT, dst_color_range=ColorRange.JPEG, threads=1
    )
    pixels = FrameConverter().convert(frame)
    assert np.array_equal(pixels, expected)
    assert pixels.shape == (size[1], size[0], 3)
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_neither_threads_nor_the_processor_change_a_pixel(pix_fmt: str) -> None:
    frame = noise(pix_fmt, SIZES[0])
    expected = FrameConverter().convert(frame)
    for threads in (2, 3, 8):
        assert np.array_equal(FrameConverter(threads).convert(frame), expected)
    with plain_processor():
        assert np.array_equal(FrameConverter().convert(frame), expected)


def test_without_exact_sums_the_processor_does_change_pixels() -> None:
    usual, again = (noise("yuv420p", (640, 362)) for _ in range(2))  # each keeps its converter
    with plain_processor():
        elsewhere = usual.to_ndarray(format="rgb24")
    assert not np.array_equal(elsewhere, again.to_ndarray(format="rgb24"))


@pytest.mark.parametrize("places", MATRICES)
def test_every_pixel_goes_where_the_display_matrix_sends_it(
    places: tuple[int, int, int, int],
) -> None:
    a, b, c, d = (place - 1 for place in places)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    turned = _turned(pixels, (a, b, c, d))
    assert turned.flags.c_contiguous
    y, x = np.indices(pixels.shape[:2])
    to_x, to_y = a * x + c * y, b * x + d * y
    assert np.array_equal(turned[to_y - to_y.min(), to_x - to_x.min()], pixels)


def test_a_buffer_is_used_again_only_when_no_view_of_it_is_left() -> None:
    pool = PixelPool()
    first = pool.acquire((48, 64, 3))
    place = first.ctypes.data
    view = first[::2, ::2].transpose(2, 0, 1)  # as a consumer may keep it
    view[:] = 7
    del first
    other = pool.acquire((48, 64, 3))
    assert other.ctypes.data != place
    other[:] = 9
    assert (view == 7).all()
    del view
    assert pool.acquire((48, 64, 3)).ctypes.data == place
    assert pool.acquire((32, 64, 3)).shape == (32, 64, 3)


def test_a_converted_frame_is_in_no_reference_cycle(tmp_path: Path) -> None:
    path = write_video(tmp_path, Recipe(num_frames=3))
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
    num_references = sys.getrefcount(frame)
    FrameConverter().convert(frame)
    assert sys.getrefcount(frame) == num_references
