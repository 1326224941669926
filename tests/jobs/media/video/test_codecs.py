"""Every codec that PyAV can encode gives the frames of a serial decode, wherever it is cut."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import FFmpegError
from av.video.frame import VideoFrame

from fcos_core.errors import VideoError
from jobs.media.video import VideoSource, index_video, split
from tests.jobs.media.video.making import image, restore_scheduling
from tests.jobs.media.video.pixels import digest, frames_of, serial_digests

NUM_SEGMENTS = (1, 2, 3, 7)
NUM_FRAMES = 10
SIZES = ((64, 48), (176, 144), (720, 576))  # some codecs know few sizes
CONTAINERS = ("avi", "mov", "mkv")
NO_PIXELS = {"vnull", "wrapped_avframe", "a64multi", "a64multi5", "xface"}
HARDWARE = ("_amf", "_nvenc", "_qsv", "_v4l2m2m", "_vaapi", "_vulkan", "_videotoolbox")
TICK = Fraction(1, 25)


def encoders() -> list[tuple[str, str]]:
    """Give each encoder with a pixel format, and also with a palette where it has one."""
    found: list[tuple[str, str]] = []
    for name in sorted(av.codecs_available):
        try:
            codec = av.Codec(name, "w")
        except ValueError:  # it only decodes
            continue
        if codec.type == "video" and name not in NO_PIXELS and not name.endswith(HARDWARE):
            formats = [one.name for one in codec.video_formats or ()] or ["bgr24", "pal8"]
            found += [(name, one) for one in formats if one == formats[0] or one == "pal8"]
    return found


def frame_of(
    number: int, size: tuple[int, int], pix_fmt: str, palette_start: int = 0
) -> VideoFrame:
    if pix_fmt != "pal8":
        frame = VideoFrame.from_ndarray(image(number, size), format="rgb24")
        frame = frame.reformat(format=pix_fmt)
    else:
        frame = VideoFrame(*size, "pal8")
        indices, palette = frame.planes
        rows = np.zeros((size[1], indices.line_size), np.uint8)
        rows[:, : size[0]] = image(number, size)[:, :, 0] // 16
        indices.update(rows.tobytes().ljust(indices.buffer_size, b"\0")[: indices.buffer_size])
        palette.update(palette_of(palette_start).ljust(palette.buffer_size, b"\0"))
    frame.pts, frame.time_base = number, TICK
    return frame


def palette_of(start: int) -> bytes:
    """Make 256 colours, 4 bytes each: blue, green, red, opaque."""
    numbers = np.arange(256) + start
    colours = np.stack([numbers * 37, numbers * 11, numbers * 83, np.full(256, 255)], axis=1)
    return (colours % 256).astype(np.uint8).tobytes()


def encode(
    path: Path,
    codec: str,
    pix_fmt: str,
    size: tuple[int, int],
    palettes: Sequence[int] = (0,) * NUM_FRAMES,
) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"strict": "experimental"})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = 3
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = TICK
        for number, start in enumerate(palettes):
            container.mux(stream.encode(frame_of(number, size, pix_fmt, start)))
        container.mux(stream.encode(None))


def encode_somehow(folder: Path, codec: str, pix_fmt: str) -> Path | None:
    """Encode into the first container and size that work and can be read again."""
    for extension in CONTAINERS:
        for size in SIZES:
            path = folder / f"{codec}-{pix_fmt}.{extension}"
            try:
                encode(path, codec, pix_fmt, size)
                serial_digests(path)
            except (FFmpegError, ValueError, IndexError):
                continue
            return path
    return None


def assert_equals_serial(path: Path) -> None:
    expected = serial_digests(path)
    index = index_video(VideoSource(str(path)))
    for num_segments in NUM_SEGMENTS:
        frames = frames_of(path, split(index, num_segments))
        assert [digest(frame.pixels) for frame in frames] == expected, num_segments


@pytest.mark.long
def test_every_codec_gives_the_frames_of_a_serial_decode(tmp_path: Path) -> None:
    differing: dict[tuple[str, str], str] = {}
    num_compared = 0
    for codec, pix_fmt in encoders():
        path = encode_somehow(tmp_path, codec, pix_fmt)
        if path is None:
            continue
        num_compared += 1
        try:
            assert_equals_serial(path)
        except (AssertionError, VideoError) as error:
            differing[codec, pix_fmt] = str(error)[:300]
    restore_scheduling()
    assert not differing
    assert num_compared > 60


@pytest.mark.parametrize(
    ("codec", "name"),
    [("rawvideo", "a.avi"), ("rawvideo", "a.mov"), ("msrle", "a.mov"), ("smc", "a.mov")],
)
def test_a_palette_reaches_every_segment(codec: str, name: str, tmp_path: Path) -> None:
    # Its container brings it once, beside the first packet.
    encode(tmp_path / name, codec, "pal8", SIZES[0])
    assert_equals_serial(tmp_path / name)
    assert len(set(serial_digests(tmp_path / name))) == NUM_FRAMES


def test_a_palette_that_changes_leaves_one_segment(tmp_path: Path) -> None:
    path = tmp_path / "changes.avi"
    encode(path, "rawvideo", "pal8", SIZES[0], palettes=[0] * 4 + [50] * (NUM_FRAMES - 4))
    assert_equals_serial(path)
    index = index_video(VideoSource(str(path)))
    assert (len(split(index, 7)), index.serial_because) == (1, "its palette changes")


@pytest.mark.parametrize("name", ["indexed.avi", "smc.mov"])
def test_a_real_file_with_a_palette_gives_its_colours(name: str, shared_data: Path) -> None:
    path = shared_data / "cases" / "pal8-palette" / name
    assert_equals_serial(path)
    (first, *_) = frames_of(path, split(index_video(VideoSource(str(path))), 1))
    assert first.pixels.mean() > 50  # without its palette, it is black
