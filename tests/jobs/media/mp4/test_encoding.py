"""A video that is encoded in parts and joined keeps frames, times, orientation and sound."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from jobs.media.mp4 import Mp4Writer, encode, open_sound, read_shape
from jobs.media.video import Frame, VideoSource, decode_segment, index_video, split
from tests.jobs.media.mp4.clips import QUARTER_TURN, image, seen, write_clip

SHARED = [
    pytest.param("cockatoo.mp4", marks=pytest.mark.slow),  # 280 frames of 1280 x 720
    "flipping_a_pancake.mkv",
    "nasa_13013.mp4",
    "nasa_13013_rotated.mp4",
    "testsrc2_h265.mp4",
    "testsrc2_vp9.webm",
    "v_SoccerJuggling_g23_c01.avi",
]
TS_TICK, NTSC_TICK = Fraction(1, 90000), Fraction(1, 30000)
UNEVEN = (0, 10, 30, 31, 90, 400, 401, 402, 1000, 1001, 1500, 1501, 3000)


def copy(path: Path, out: Path, *, num_parts: int) -> int:
    """Decode, encode and join as rendering does, without detections; return the stream."""
    source = VideoSource(str(path))
    index = index_video(source)
    shape = read_shape(source, stream=index.stream)
    last = int(index.timestamps[-1])
    step = int(np.median(np.diff(index.timestamps)))
    with (
        open_sound(source, beside=index.stream) as sound,
        Mp4Writer(out, shape, sound, start_pts=int(index.timestamps[0])) as writer,
    ):
        for segment in split(index, num_parts):
            frames = decoded(source, segment)
            part = encode(frames, shape)
            assert part is not None
            writer.add(part)
        end = shape.end_pts if shape.end_pts is not None and shape.end_pts > last else last + step
        writer.finish(end_pts=end)
    return index.stream


def decoded(source, segment) -> Iterator[tuple[int, np.ndarray]]:
    for frame in decode_segment(source, segment):
        assert isinstance(frame, Frame)
        yield frame.pts, frame.pixels


def assert_plays_alike(path: Path, out: Path, stream: int) -> None:
    before, after = seen(path, stream), seen(out)
    assert len(after.times) == len(before.times)
    shift = before.times[0] - after.times[0]
    np.testing.assert_allclose(np.array(after.times) + shift, before.times, rtol=0, atol=1e-6)
    assert after.rotation == before.rotation
    # Where a file has no length of its video stream, the length of the whole file counts.
    assert after.duration_s == pytest.approx(before.duration_s, abs=0.05)
    assert after.sound == before.sound
    assert after.size == tuple(side + side % 2 for side in before.size)


@pytest.mark.parametrize("name", SHARED)
def test_frames_times_orientation_and_sound_of_real_videos_are_kept(
    shared_data: Path, tmp_path: Path, name: str
):
    path, out = shared_data / "video" / name, tmp_path / "out.mp4"

    stream = copy(path, out, num_parts=3)

    assert_plays_alike(path, out, stream)


@pytest.mark.parametrize(
    ("suffix", "settings"),
    [
        pytest.param(".mp4", {"options": {"bf": "3"}}, id="b-frames"),
        pytest.param(".mp4", {"times": UNEVEN, "options": {"bf": "0"}}, id="uneven-times"),
        pytest.param(".mkv", {"times": UNEVEN}, id="uneven-times-and-b-frames"),
        pytest.param(".mp4", {"times": range(5000, 6200, 40)}, id="late-start"),
        pytest.param(".mp4", {"size": (63, 47), "pix_fmt": "yuv444p"}, id="odd-size"),
        pytest.param(".mp4", {"pix_fmt": "yuv420p10le"}, id="10-bit"),
        pytest.param(".mp4", {"matrix": QUARTER_TURN}, id="quarter-turn"),
        pytest.param(".mp4", {"sound": "aac"}, id="aac"),
        pytest.param(".mkv", {"sound": "libmp3lame"}, id="mp3"),
        pytest.param(".mkv", {"sound": "flac"}, id="flac"),
        pytest.param(
            ".ts", {"time_base": Fraction(1, 90000), "times": range(0, 90000, 3600)}, id="ts"
        ),
        pytest.param(
            ".mp4", {"times": range(0, 30030, 1001), "time_base": Fraction(1, 30000)}, id="ntsc"
        ),
        pytest.param(".mp4", {"codec": "mpeg4"}, id="mpeg-4"),
    ],
)
def test_frames_times_orientation_and_sound_of_a_video_are_kept(
    tmp_path: Path, suffix: str, settings
):
    path, out = write_clip(tmp_path / f"clip{suffix}", **settings), tmp_path / "out.mp4"

    stream = copy(path, out, num_parts=3)

    assert_plays_alike(path, out, stream)


@pytest.mark.parametrize("num_parts", [1, 2, 7])
def test_the_number_of_parts_changes_nothing_in_a_player(tmp_path: Path, num_parts: int):
    path = write_clip(tmp_path / "clip.mp4", sound="aac")
    for parts in (1, num_parts):
        copy(path, tmp_path / f"{parts}.mp4", num_parts=parts)

    assert seen(tmp_path / f"{num_parts}.mp4") == seen(tmp_path / "1.mp4")


def test_pixels_equal_the_drawn_ones_in_every_orientation_of_the_source(tmp_path: Path):
    path = write_clip(tmp_path / "clip.mp4", matrix=QUARTER_TURN)
    out = tmp_path / "out.mp4"

    copy(path, out, num_parts=2)

    (before, *_), (after, *_) = (
        list(decoded(source, split(index_video(source), 1)[0]))
        for source in (VideoSource(str(path)), VideoSource(str(out)))
    )
    assert after[1].shape == before[1].shape == (64, 48, 3)
    # Compressed twice: some grey levels apart, but every corner where it was.
    assert np.abs(after[1].astype(int) - before[1]).mean() < 3


@pytest.mark.parametrize(("codec", "rate"), [("pcm_s16le", 16000), ("libmp3lame", 8000)])
def test_sound_that_no_browser_plays_in_mp4_becomes_aac_of_the_same_length(
    tmp_path: Path, codec: str, rate: int
):
    path = write_clip(tmp_path / "clip.mkv", sound=codec, sound_rate=rate)
    out = tmp_path / "out.mp4"

    copy(path, out, num_parts=2)

    with av.open(str(out)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac"
        assert float((sound.duration or 0) * (sound.time_base or 1)) == pytest.approx(
            1.16, abs=0.15
        )


def test_a_file_for_browsers_is_h264_in_yuv420p_with_the_index_first(tmp_path: Path):
    path, out = write_clip(tmp_path / "clip.mp4", sound="aac"), tmp_path / "out.mp4"

    copy(path, out, num_parts=2)

    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.color_range) == ("h264", "yuv420p", 1)
        assert context.colorspace == context.color_primaries == 1


def test_the_last_frame_is_shown_until_the_end_of_lost_frames_behind_it(tmp_path: Path):
    path, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    source = VideoSource(str(path))
    shape = read_shape(source, stream=0)
    part = encode(((pts, image(0)) for pts in (0, 40)), shape)
    assert part is not None

    with Mp4Writer(out, shape, None, start_pts=0) as writer:
        writer.add(part)
        writer.finish(end_pts=round(1200 * (shape.time_base**-1) / 1000))

    assert seen(out).duration_s == pytest.approx(1.2)


def test_without_frames_there_is_no_part(tmp_path: Path):
    shape = read_shape(VideoSource(str(write_clip(tmp_path / "clip.mp4"))), stream=0)

    assert encode(iter(()), shape) is None
