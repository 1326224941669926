"""A frame that its decoder gives whole is used; a damaged one is lost.

What a stream says besides its frames (SEI, APPn, EXIF) may be broken: no pixel depends on it.
"""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from jobs.media.video import Frame, Lost, VideoSource, decode_segment, index_video, split
from jobs.media.video.sei import SeiCleaner
from tests.jobs.media.video.making import RECIPES, X265_QUIET, Recipe, rewrite, write_video
from tests.jobs.media.video.pixels import digest, frames_of, serial_digests

H264 = Recipe(num_frames=24, options={"bf": "2"})
H264_FIELDS = replace(H264, size=(64, 64), options={"x264-params": "tff=1:keyint=12:bframes=2"})
HEVC = Recipe(codec="libx265", num_frames=24, options={"x265-params": "keyint=12:" + X265_QUIET})
MJPEG = Recipe(codec="mjpeg", name="clip.avi", pix_fmt="yuvj420p", num_frames=10)
FFV1 = Recipe(codec="ffv1", name="clip.mkv", num_frames=10, options={"level": "3"})
H261 = Recipe(codec="h261", name="clip.avi", size=(176, 144), num_frames=10)

USER_DATA = bytes(range(1, 18))
TOO_LONG = b"\x05\x82" + USER_DATA  # says 130 bytes, and has 17
TOO_SHORT = b"\x05\x03abc"  # a UUID has 16 bytes
CAPTIONS = b"\x04\x08\xb5\x00\x31GA94\x03"  # and none of the captions that follow
SOUND = b"\x05\x11" + USER_DATA
RECOVERY_POINT = b"\x06\x01\xc4"  # at this frame
SEI = {
    "longer than its unit": TOO_LONG,
    "user data without a UUID": TOO_SHORT,
    "captions that end early": CAPTIONS,
    "sound before the broken one": SOUND + TOO_LONG,
}


def with_length(unit: bytes) -> bytes:
    return len(unit).to_bytes(4, "big") + unit


def before(header: bytes, message: bytes) -> Callable[[bytes], bytes]:
    return lambda packet: with_length(header + message + b"\x80") + packet


def behind(header: bytes, message: bytes) -> Callable[[bytes], bytes]:
    return lambda packet: packet + with_length(header + message + b"\x80")


def between_slices(message: bytes) -> Callable[[bytes], bytes]:
    """Put a message before the last unit of each packet."""

    def edit(packet: bytes) -> bytes:
        last = place = 0
        while place < len(packet):
            last, place = place, place + 4 + int.from_bytes(packet[place : place + 4], "big")
        return packet[:last] + with_length(b"\x06" + message + b"\x80") + packet[last:]

    return edit


def segment(marker: int, body: bytes) -> Callable[[bytes], bytes]:
    """Put an APPn segment behind a JPEG's first marker."""
    head = bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big")
    return lambda packet: packet[:2] + head + body + packet[2:]


def exif(orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def assert_pixels(path: Path, expected: list[str]) -> None:
    index = index_video(VideoSource(str(path)))
    for num_segments in (1, 3):
        frames = frames_of(path, split(index, num_segments))
        assert [digest(frame.pixels) for frame in frames] == expected


@pytest.mark.parametrize("name", ["edited.mp4", "edited.mkv", "edited.ts"])
@pytest.mark.parametrize("message", SEI.values(), ids=SEI.keys())
@pytest.mark.parametrize(
    ("recipe", "header"), [(H264, b"\x06"), (HEVC, b"\x4e\x01")], ids=["h264", "hevc"]
)
def test_broken_sei_costs_no_frame(
    recipe: Recipe, header: bytes, message: bytes, name: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path, recipe)
    edited = rewrite(path, tmp_path, name, edit=before(header, message))
    assert_pixels(edited, serial_digests(path))


def test_sound_messages_beside_broken_sei_reach_the_decoder() -> None:
    slice_unit = with_length(b"\x41" + bytes(range(9, 40)))
    unit = b"\x06" + SOUND + CAPTIONS + RECOVERY_POINT + TOO_LONG + b"\x80"
    packet = av.Packet(with_length(unit) + slice_unit)
    SeiCleaner("h264", b"\x01\x64\x00\x0a\xff").clean(packet)
    kept = (b"\x06" + SOUND + RECOVERY_POINT + b"\x80").ljust(len(unit), b"\0")
    assert bytes(packet) == with_length(kept) + slice_unit
    untouched = bytes(packet)
    SeiCleaner("h264", b"\x01\x64\x00\x0a\xff").clean(packet)
    assert bytes(packet) == untouched


def test_broken_sei_behind_or_between_slices_costs_no_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path, HEVC)
    edited = rewrite(path, tmp_path, "suffix.mp4", edit=behind(b"\x50\x01", TOO_LONG))
    assert_pixels(edited, serial_digests(path))
    path = write_video(tmp_path, replace(H264_FIELDS, name="slices.mp4"))
    edited = rewrite(path, tmp_path, "fields.mp4", edit=between_slices(TOO_LONG))
    assert_pixels(edited, serial_digests(path))


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(segment(0xE4, b"\x01\x02"), id="short APP4"),
        pytest.param(segment(0xE0, b"\x01"), id="APP0 of one byte"),
        pytest.param(segment(0xE1, b"Exif\0\0" + bytes(8)), id="EXIF without a header"),
        pytest.param(segment(0xE1, exif(1)[:20]), id="EXIF cut short"),
        pytest.param(segment(0xE1, exif(1)[:16] + b"\x09" + exif(1)[17:]), id="EXIF of few bytes"),
        pytest.param(segment(0xE2, b"ICC_PROFILE\0\x09\x01" + bytes(9)), id="ICC out of order"),
        pytest.param(segment(0xE1, exif(1)), id="whole EXIF"),
    ],
)
def test_odd_application_data_in_motion_jpeg_costs_no_frame(
    edit: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = write_video(tmp_path, MJPEG)
    edited = rewrite(path, tmp_path, "edited.avi", edit=edit)
    assert_pixels(edited, serial_digests(path))


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_the_exif_orientation_of_motion_jpeg_turns_its_frames(
    orientation: int, turns: int, tmp_path: Path
) -> None:
    path = write_video(tmp_path, MJPEG)
    edited = rewrite(path, tmp_path, "turned.avi", edit=segment(0xE1, exif(orientation)))
    index = index_video(VideoSource(str(edited)))
    (plain,) = split(index_video(VideoSource(str(path))), 1)
    upright = [frame.pixels for frame in frames_of(edited, split(index, 1))]
    expected = [np.rot90(frame.pixels, turns) for frame in frames_of(path, [plain])]
    assert all(np.array_equal(one, other) for one, other in zip(upright, expected, strict=True))
    assert (index.height, index.width) == upright[0].shape[:2]


@pytest.mark.parametrize(
    ("recipe", "damaged_bytes"),
    [
        pytest.param(MJPEG, slice(300, None), id="mjpeg"),
        pytest.param(H264, slice(20, None), id="h264"),
        pytest.param(HEVC, slice(8, None), id="hevc"),
        pytest.param(RECIPES["mpeg2_mkv_open_gop"], slice(60, None), id="mpeg2"),
        pytest.param(FFV1, slice(200, 201), id="ffv1: only its checksum tells"),
        pytest.param(H261, slice(100, 103), id="h261: only a message tells"),
    ],
)
def test_a_damaged_picture_is_lost(recipe: Recipe, damaged_bytes: slice, tmp_path: Path) -> None:
    path = write_video(tmp_path, recipe)
    whole = serial_digests(path)
    numbers = iter(range(recipe.num_frames))

    def damage(packet: bytes) -> bytes:
        changed = bytearray(packet)
        if next(numbers) == 6:
            changed[damaged_bytes] = bytes(byte ^ 0xA5 for byte in changed[damaged_bytes])
        return bytes(changed)

    damaged = rewrite(path, tmp_path, f"damaged{path.suffix}", edit=damage)
    (only,) = split(index_video(VideoSource(str(damaged))), 1)
    events = list(decode_segment(VideoSource(str(damaged)), only))
    assert any(isinstance(event, Lost) for event in events)
    frames = [event for event in events if isinstance(event, Frame)]
    assert frames
    assert all(digest(frame.pixels) == whole[frame.index] for frame in frames)


@pytest.mark.parametrize(
    ("name", "num_frames"),
    [
        *(("sei-overlong/sei_trunc.mp4", 100), ("sei-overlong/hevc_trunc.mp4", 100)),
        *((f"mjpeg-app-exif/{one}.avi", 20) for one in ("app_short", "exif_bad", "exif_cut")),
    ],
)
def test_a_real_file_with_broken_extras_gives_all_frames(
    name: str, num_frames: int, shared_data: Path
) -> None:
    path = shared_data / "cases" / name
    expected = serial_digests(path)
    assert len(expected) == num_frames
    assert_pixels(path, expected)
