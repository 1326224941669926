"""Parameters that change midway: a stream that sends them once is one segment, others are cut."""

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from jobs.media.video import Sampling, VideoSource, index_video, split
from jobs.media.video.nal_units import nal_units
from tests.jobs.media.video.making import X265_QUIET, Recipe, add_stream, frame_of, image
from tests.jobs.media.video.pixels import digest, frames_of, serial_digests

REASON = "its parameters change"
NUM_FRAMES, GOP = 24, 6
H264 = Recipe(
    name="clip.avi",
    num_frames=NUM_FRAMES,
    gop=GOP,
    time_base=Fraction(1, 25),
    options={"bf": "0", "x264-params": "repeat-headers=1:scenecut=0"},
)
OTHER_H264 = replace(
    H264, options=H264.options | {"x264-params": "repeat-headers=1:scenecut=0:cabac=0:ref=4:qp=35"}
)
X265 = f"repeat-headers=1:scenecut=0:keyint={GOP}:min-keyint={GOP}:bframes=0:{X265_QUIET}"
HEVC = replace(H264, codec="libx265", name="clip.mkv", options={"x265-params": X265})
OTHER_HEVC = replace(HEVC, options={"x265-params": X265 + ":qp=35:amp=1:rect=1:sao=0:ctu=16"})
MPEG4 = replace(H264, codec="mpeg4", options={})
OTHER_MPEG4 = replace(MPEG4, options={"mpeg_quant": "1"})


def encode(recipe: Recipe) -> list[bytes]:
    with av.open(io.BytesIO(), "w", format="mpegts") as container:
        stream = add_stream(container, recipe)
        packets = [
            packet
            for number in range(recipe.num_frames)
            for packet in stream.encode(frame_of(number, number, recipe))
        ]
        return [bytes(packet) for packet in [*packets, *stream.encode(None)]]


def mux(folder: Path, recipe: Recipe, packets: list[bytes], *, gop: int = GOP) -> Path:
    path = folder / recipe.name
    with av.open(str(path), "w") as container:
        stream = add_stream(container, recipe)
        for number, content in enumerate(packets):
            packet = av.Packet(content)
            packet.pts = packet.dts = number
            packet.time_base, packet.duration = Fraction(1, recipe.rate), 1
            packet.is_keyframe = number % gop == 0
            packet.stream = stream
            container.mux(packet)
    return path


def without_h264_sets(packet: bytes) -> bytes:
    units = [unit for unit in nal_units(memoryview(packet), None) if unit[0] & 31 not in {7, 8}]
    return b"".join(b"\0\0\0\1" + bytes(unit) for unit in units)


def without_hevc_sets(packet: bytes) -> bytes:
    units = [u for u in nal_units(memoryview(packet), None) if u[0] >> 1 & 63 not in {32, 33, 34}]
    return b"".join(b"\0\0\0\1" + bytes(unit) for unit in units)


def without_mpeg4_headers(packet: bytes) -> bytes:
    return packet[packet.index(b"\0\0\1\xb6") :]


STREAMS = [
    pytest.param(H264, OTHER_H264, without_h264_sets, id="h264, avi"),
    pytest.param(
        replace(H264, name="clip.mkv"), OTHER_H264, without_h264_sets, id="h264, matroska"
    ),
    pytest.param(HEVC, OTHER_HEVC, without_hevc_sets, id="hevc"),
    pytest.param(MPEG4, OTHER_MPEG4, without_mpeg4_headers, id="mpeg4"),
]


@pytest.mark.parametrize(("recipe", "other", "strip"), STREAMS)
def test_parameters_that_change_and_come_once_leave_one_segment(
    recipe: Recipe, other: Recipe, strip: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    first, *later = encode(recipe)
    second, *last = encode(other)
    packets = [first, *map(strip, later[: 2 * GOP - 1]), second, *map(strip, last)]
    path = mux(tmp_path, recipe, packets)
    index = index_video(VideoSource(str(path)))
    assert index.serial_because == REASON
    expected = serial_digests(path)
    assert len(expected) == index.num_frames == len(packets)
    assert [digest(one.pixels) for one in frames_of(path, split(index, 6))] == expected
    # The group that brings them is decoded, though none of its frames is taken.
    sampled = frames_of(path, split(index, 1, sampling=Sampling(every_n_frames=5 * GOP)))
    assert [digest(one.pixels) for one in sampled] == [expected[one.index] for one in sampled]


@pytest.mark.parametrize(("recipe", "other", "strip"), STREAMS)
@pytest.mark.parametrize("are_repeated", [True, False], ids=["repeated", "never changed"])
def test_parameters_that_are_repeated_or_never_change_do_not_keep_a_video_whole(
    recipe: Recipe,
    other: Recipe,
    strip: Callable[[bytes], bytes],
    tmp_path: Path,
    *,
    are_repeated: bool,
) -> None:
    first, *later = encode(recipe)
    packets = [first, *later, *encode(other)] if are_repeated else [first, *map(strip, later)]
    path = mux(tmp_path, recipe, packets)
    index = index_video(VideoSource(str(path)))
    assert index.serial_because is None
    segments = split(index, 4)
    assert len(segments) == 4
    assert [digest(one.pixels) for one in frames_of(path, segments)] == serial_digests(path)


def jpeg(number: int, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image(number)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def without_quantization(content: bytes) -> bytes:
    while (place := content.find(b"\xff\xdb")) >= 0:
        size = int.from_bytes(content[place + 2 : place + 4], "big")
        content = content[:place] + content[place + 2 + size :]
    return content


@pytest.mark.parametrize("suffix", ["avi", "mov"])
@pytest.mark.parametrize(
    ("quality", "are_left_out", "reason"),
    [(30, True, REASON), (30, False, None), (90, True, None)],
    ids=["change and are left out", "change", "are left out"],
)
def test_a_motion_jpeg_whose_tables_change_and_are_left_out_is_one_segment(
    quality: int, reason: str | None, suffix: str, tmp_path: Path, *, are_left_out: bool
) -> None:
    later = [jpeg(number, quality) for number in range(11, 20)]
    packets = [jpeg(number, 90) for number in range(10)] + [jpeg(10, quality)]
    packets += [without_quantization(one) for one in later] if are_left_out else later
    recipe = replace(MPEG4, codec="mjpeg", name=f"clip.{suffix}", pix_fmt="yuvj420p")
    path = mux(tmp_path, recipe, packets, gop=1)
    index = index_video(VideoSource(str(path)))
    assert index.serial_because == reason
    frames = frames_of(path, split(index, 4))
    assert [digest(one.pixels) for one in frames] == serial_digests(path)
