"""The frames of all segments in order equal those of a serial decode by PyAV alone."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange

from fcos_core.errors import ConfigError, VideoError
from jobs.media.video import (
    Frame,
    Sampling,
    VideoSource,
    decode_segment,
    index_video,
    split,
)
from jobs.media.video.decoder import Decoder
from tests.jobs.media.video.making import (
    RECIPES,
    Recipe,
    image,
    write_audio,
    write_derived,
    write_late_sound,
    write_video,
)
from tests.jobs.media.video.pixels import FLAGS, digest, frames_of, serial

NUM_SEGMENTS = (1, 2, 3, 7)
SERIAL_ONLY = {
    "intra_refresh",
    "mpeg4_avi_b_frames",
    "x264_avi_b_frames",
    "mpeg2_ts",
    "x264_ts",
    "flv",
}
WITHOUT_TIMES = {"mpeg4_avi_b_frames", "x264_avi_b_frames"}
SHARED = (
    "cockatoo.mp4",
    "flipping_a_pancake.mkv",
    "nasa_13013.mp4",
    "nasa_13013_rotated.mp4",
    "testsrc2_h265.mp4",
    "testsrc2_vp9.webm",
    "v_SoccerJuggling_g23_c01.avi",
)


def assert_equals_serial(path: Path, turns: int = 0) -> None:
    index = index_video(VideoSource(str(path)))
    expected = list(serial(path, index.stream, turns))
    for num_segments in NUM_SEGMENTS:
        segments = split(index, num_segments)
        frames = frames_of(path, segments)
        found = [(frame.pts, frame.timestamp_s, digest(frame.pixels)) for frame in frames]
        assert found == expected
        assert [frame.index for frame in frames] == list(range(len(expected)))
        assert sum(segment.num_frames for segment in segments) == len(expected)


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_derived(tmp_path_factory.mktemp("derived"))


LONGEST = pytest.param("long_gop_250", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "name", [LONGEST, *sorted(RECIPES.keys() - WITHOUT_TIMES - {"long_gop_250"})]
)
def test_segments_equal_a_serial_decode(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path, RECIPES[name])
    assert_equals_serial(path)
    index = index_video(VideoSource(str(path)))
    assert index.num_frames == len(RECIPES[name].ticks or range(RECIPES[name].num_frames))
    can_split = name not in SERIAL_ONLY and name != "one_frame"
    assert (len(split(index, 7)) >= 4) == can_split, index.serial_because


@pytest.mark.parametrize("name", sorted(WITHOUT_TIMES))
def test_a_video_without_packet_times_is_one_segment_and_says_why(
    name: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path, RECIPES[name])
    index = index_video(VideoSource(str(path)))
    assert index.serial_because is not None
    (segment,) = split(index, 7)
    frames = frames_of(path, [segment])
    with av.open(str(path)) as container:
        expected = [
            digest(
                frame.reformat(
                    format="gbrp", interpolation=FLAGS, dst_color_range=ColorRange.JPEG
                ).to_ndarray()
            )
            for frame in container.decode(video=0)
        ]
    assert [digest(frame.pixels) for frame in frames] == expected
    times = [frame.timestamp_s for frame in frames]
    assert times == [frame / 25 for frame in range(60)]


@pytest.mark.parametrize(
    "name",
    [
        "non_zero_start",
        "starts_inside_a_group",
        "starts_at_an_open_group",
        "edit_list_inside_a_group",
        "edit_list_inside_an_open_group",
        "two_streams",
    ],
)
def test_segments_of_a_cut_or_shifted_video_equal_a_serial_decode(
    name: str, derived: dict[str, Path]
) -> None:
    assert_equals_serial(derived[name])


@pytest.mark.parametrize("name", SHARED)
def test_segments_of_a_real_video_equal_a_serial_decode(name: str, shared_data: Path) -> None:
    assert_equals_serial(shared_data / "video" / name, turns=1 if "rotated" in name else 0)


def test_frames_show_what_was_drawn_in_rgb(tmp_path: Path) -> None:
    recipe = Recipe(options={"crf": "0"}, pix_fmt="yuv444p", num_frames=2)
    path = write_video(tmp_path, recipe)
    (segment,) = split(index_video(VideoSource(str(path))), 1)
    pixels = frames_of(path, [segment])[1].pixels
    assert np.abs(pixels.astype(int) - image(1)).max() <= 6  # the error of YUV with 8 bits
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "undo"),
    [
        pytest.param("quarter_turn", lambda pixels: np.rot90(pixels, 1), id="quarter turn"),
        pytest.param("mirrored", lambda pixels: pixels[:, ::-1], id="mirrored"),
    ],
)
def test_the_display_matrix_is_applied(
    name: str, undo: Callable[[np.ndarray], np.ndarray], derived: dict[str, Path]
) -> None:
    index = index_video(VideoSource(str(derived[name])))
    plain = frames_of(derived["plain"], split(index_video(VideoSource(str(derived["plain"]))), 1))
    shown = frames_of(derived[name], split(index, 3))
    for before, after in zip(plain, shown, strict=True):
        assert np.array_equal(undo(after.pixels), before.pixels)
    assert (index.height, index.width) == shown[0].pixels.shape[:2]


@pytest.mark.parametrize("name", ["b_frames", "open_gop", "x265_open_gop", "vfr", "vp9", "x264_ts"])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(every_n_frames=7), Sampling(every_n_frames=40), Sampling(fps=Fraction(3))],
    ids=["every 7", "every 40", "3 a second"],
)
def test_a_sample_is_the_same_however_it_is_split(
    name: str, sampling: Sampling, tmp_path: Path
) -> None:
    path = write_video(tmp_path, RECIPES[name])
    index = index_video(VideoSource(str(path)))
    every = frames_of(path, split(index, 1))
    chosen = sampling.choose(index.timestamps, index.time_base)
    expected = [(every[i].index, every[i].pts, digest(every[i].pixels)) for i in chosen]
    for num_segments in NUM_SEGMENTS:
        frames = frames_of(path, split(index, num_segments, sampling=sampling))
        found = [(frame.index, frame.pts, digest(frame.pixels)) for frame in frames]
        assert found == expected


def test_frames_are_sampled_by_their_time_and_not_by_their_number() -> None:
    timestamps = np.array([10, 11, 12, 40, 41, 70, 99, 100, 130])  # hundredths of a second
    chosen = Sampling(fps=Fraction(10)).choose(timestamps, Fraction(1, 100))
    assert timestamps[chosen].tolist() == [10, 40, 70, 99, 100, 130]
    assert Sampling(every_n_frames=4).choose(timestamps, Fraction(1, 100)).tolist() == [0, 4, 8]


@pytest.mark.parametrize(
    "settings",
    [{"every_n_frames": 0}, {"fps": Fraction(0)}, {"every_n_frames": 2, "fps": Fraction(1)}],
)
def test_a_contradictory_sampling_is_refused(settings: dict) -> None:
    with pytest.raises(ConfigError):
        Sampling(**settings)


def test_a_sampled_decode_skips_groups_without_wanted_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path, RECIPES["b_frames"])
    index = index_video(VideoSource(str(path)))
    decoded: list[int | None] = []
    decode = Decoder.decode

    def counting(self: Decoder, packet: av.Packet, *, is_wanted: bool = True) -> object:
        decoded.append(packet.pts)
        return decode(self, packet, is_wanted=is_wanted)

    monkeypatch.setattr(Decoder, "decode", counting)
    frames = frames_of(path, split(index, 1, sampling=Sampling(every_n_frames=36)))
    assert [frame.index for frame in frames] == [0, 36]
    assert len(decoded) < index.num_frames / 2


def test_a_stream_can_be_chosen_and_a_wrong_one_is_named(derived: dict[str, Path]) -> None:
    source = VideoSource(str(derived["two_streams"]))
    assert index_video(source, stream=1).num_frames == 30
    with pytest.raises(VideoError, match="stream 5 is no video stream"):
        index_video(source, stream=5)


def test_a_file_that_is_no_video_is_refused_with_the_reason(tmp_path: Path) -> None:
    for name, content, reason in (
        ("empty.mp4", b"", "cannot be opened as a video"),
        ("text.mp4", b"not a video at all\n" * 50, "cannot be opened as a video"),
        ("list.mp4", b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", "cannot be opened as a video"),
        ("script.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "cannot be opened"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(VideoError, match=reason) as caught:
            index_video(VideoSource(str(path)))
        assert str(caught.value).startswith(str(path))
    with pytest.raises(VideoError, match="no video stream, only audio"):
        index_video(VideoSource(str(write_audio(tmp_path))))


def test_a_video_that_is_a_file_object_gives_the_same_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path, RECIPES["open_gop"])
    far = VideoSource("far away", lambda: path.open("rb"))
    near = frames_of(path, split(index_video(VideoSource(str(path))), 3))
    found = [
        event for segment in split(index_video(far), 3) for event in decode_segment(far, segment)
    ]
    assert [digest(one.pixels) for one in found] == [digest(one.pixels) for one in near]


def test_a_stream_that_begins_midway_changes_nothing(tmp_path: Path) -> None:
    source = VideoSource(str(write_late_sound(tmp_path)))
    index = index_video(source)
    assert (index.num_frames, index.damage) == (200, None)
    (segment,) = split(index, 1)
    assert sum(isinstance(event, Frame) for event in decode_segment(source, segment)) == 200


def test_no_encoder_leaves_the_tests_before_all_others(tmp_path: Path) -> None:
    write_video(tmp_path, RECIPES["av1"])
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
