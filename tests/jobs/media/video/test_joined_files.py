"""Files joined byte by byte from pieces: each piece gives the frames that it gives alone.

Dash cams and downloads of live streams make such files. Time and the stream's counter begin anew.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path

import av
import pytest

from jobs.media.video import Lost, VideoSource, decode_segment, index_video, split
from tests.jobs.media.video.making import X265_QUIET, Recipe, rewrite, write_video
from tests.jobs.media.video.pixels import digest, frames_of, serial_digests

TICK = Fraction(1, 25)
H264 = Recipe(name="clip.ts", time_base=TICK, num_frames=40, options={"bf": "2"})
MPEG2 = replace(H264, codec="mpeg2video")
HEVC = replace(H264, codec="libx265", options={"x265-params": "keyint=12:bframes=2:" + X265_QUIET})
NO_SCENE_CUTS = {"sc_threshold": "0"}
WRAP_S = 2**33 / 90_000
MUXER_DELAY_S = 1.4


def join(folder: Path, *pieces: Path) -> Path:
    path = folder / f"joined{pieces[0].suffix}"
    path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    return path


def write_piece(folder: Path, name: str, recipe: Recipe) -> Path:
    (folder / name).mkdir()
    return write_video(folder / name, recipe)


def times_of_whole(path: Path, expected: list[str]) -> list[float]:
    """Check the pixels of all frames, however the video is cut; give their times."""
    index = index_video(VideoSource(str(path)))
    for num_segments in (1, 3):
        frames = frames_of(path, split(index, num_segments))
        assert [frame.index for frame in frames] == list(range(len(expected)))
        assert [digest(frame.pixels) for frame in frames] == expected
    times = [frame.timestamp_s for frame in frames]
    assert all(one < other for one, other in pairwise(times))
    return times


@pytest.mark.parametrize(
    ("recipe", "other"),
    [
        pytest.param(H264, H264, id="h264"),
        pytest.param(
            H264,
            replace(H264, size=(80, 64), rate=20, time_base=Fraction(1, 20)),
            id="h264, other size and rate",
        ),
        pytest.param(HEVC, replace(HEVC, size=(80, 64)), id="hevc, other size"),
        pytest.param(MPEG2, replace(MPEG2, size=(80, 64)), id="mpeg2, other size"),
        pytest.param(
            replace(MPEG2, name="clip.mpg"),
            replace(MPEG2, name="clip.mpg", rate=30, time_base=Fraction(1, 30)),
            id="mpeg2, program stream, other rate",
        ),
        pytest.param(replace(H264, name="clip.mkv"), replace(H264, name="clip.mkv"), id="mkv"),
    ],
)
def test_each_piece_gives_its_frames(recipe: Recipe, other: Recipe, tmp_path: Path) -> None:
    pieces = [write_piece(tmp_path, "first", recipe), write_piece(tmp_path, "second", other)]
    path = join(tmp_path, *pieces)
    times = times_of_whole(path, [one for piece in pieces for one in serial_digests(piece)])
    assert index_video(VideoSource(str(path))).serial_because is not None
    # The second piece keeps its own pace, behind the first.
    steps = [later - earlier for earlier, later in pairwise(times[recipe.num_frames :])]
    assert steps == pytest.approx([1 / other.rate] * len(steps), abs=0.002)


@pytest.mark.parametrize(
    "starts_s",
    [
        pytest.param((0, 40 / 25), id="times go on, the counter begins anew"),
        pytest.param((0, 1000), id="a gap"),
        pytest.param((1000, 0), id="far back, which FFmpeg takes for a wrap"),
        pytest.param((5, 4), id="back by less than a piece"),
    ],
)
def test_pieces_at_any_times_give_their_frames(
    starts_s: tuple[float, float], tmp_path: Path
) -> None:
    plain = write_video(tmp_path, Recipe(num_frames=40, options={"bf": "2"}))
    pieces = [
        rewrite(plain, tmp_path, f"{number}.ts", shift=round(start_s * 12800))
        for number, start_s in enumerate(starts_s)
    ]
    times = times_of_whole(join(tmp_path, *pieces), serial_digests(plain) * 2)
    assert times[-1] < max(starts_s) + 10


@pytest.mark.parametrize("before_s", [0.5, 1.5])
def test_a_counter_that_wraps_changes_nothing(before_s: float, tmp_path: Path) -> None:
    plain = write_video(tmp_path, Recipe(num_frames=48, options={"bf": "2"}))
    shift = round((WRAP_S - MUXER_DELAY_S - before_s) * 12800)
    times = times_of_whole(rewrite(plain, tmp_path, "wraps.ts", shift=shift), serial_digests(plain))
    assert times[-1] - times[0] == pytest.approx(47 / 25, abs=0.001)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(replace(H264, options=NO_SCENE_CUTS), id="h264"),
        pytest.param(replace(H264, options=NO_SCENE_CUTS | {"bf": "2"}), id="h264, b-frames"),
        pytest.param(replace(MPEG2, options={}), id="mpeg2"),
        pytest.param(replace(MPEG2, name="clip.mpg", options={}), id="mpeg2, program stream"),
        pytest.param(
            replace(H264, name="clip.mkv", num_frames=60, options=NO_SCENE_CUTS), id="mkv"
        ),
    ],
)
def test_a_piece_that_begins_inside_a_group_loses_its_frames_up_to_the_next_key_frame(
    recipe: Recipe, tmp_path: Path
) -> None:
    num_cut, num_lost = 5, 7
    first = write_piece(tmp_path, "first", recipe)
    second = rewrite(
        first, tmp_path, f"cut{first.suffix}", keep=lambda number, _: number >= num_cut
    )
    path = join(tmp_path, first, second)
    (only,) = split(index_video(VideoSource(str(path))), 1)
    events = list(decode_segment(VideoSource(str(path)), only))
    frames = [event for event in events if not isinstance(event, Lost)]
    (lost,) = (event for event in events if isinstance(event, Lost))
    whole = serial_digests(first)
    assert [digest(frame.pixels) for frame in frames] == whole + whole[num_cut + num_lost :]
    assert (lost.first, lost.last) == (len(whole), len(whole) + num_lost - 1)
    assert "without a key frame" in lost.reason


@pytest.mark.parametrize(
    ("recipe", "other"),
    [
        pytest.param(H264, MPEG2, id="h264, mpeg2"),
        pytest.param(replace(H264, options={"bf": "0"}), MPEG2, id="h264 without b-frames, mpeg2"),
        pytest.param(replace(MPEG2, options={}), H264, id="mpeg2, h264"),
        pytest.param(HEVC, H264, id="hevc, h264"),
    ],
)
def test_a_piece_of_another_codec_is_lost_and_accounted_for(
    recipe: Recipe, other: Recipe, tmp_path: Path
) -> None:
    first = write_piece(tmp_path, "first", recipe)
    path = join(tmp_path, first, write_piece(tmp_path, "second", other))
    (only,) = split(index_video(VideoSource(str(path))), 1)
    events = list(decode_segment(VideoSource(str(path)), only))
    lost = [event for event in events if isinstance(event, Lost)]
    frames = [event for event in events if not isinstance(event, Lost)]
    # FFmpeg's parser puts the second piece's first bytes into the first piece's last packets.
    num_whole = recipe.num_frames - 3
    found = [digest(frame.pixels) for frame in frames[:num_whole]]
    assert found == serial_digests(first)[:num_whole]
    num_lost = sum(event.last - event.first + 1 for event in lost)
    assert num_lost >= other.num_frames
    with av.open(str(path)) as container:
        assert len(frames) + num_lost == sum(p.size > 0 for p in container.demux(video=0))


def test_a_damaged_packet_of_a_joined_file_moves_no_other_frame(tmp_path: Path) -> None:
    first = write_piece(tmp_path, "first", replace(MPEG2, options={}))
    whole = serial_digests(first) * 2
    for damaged in range(12, 24):
        numbers = count()

        def edit(content: bytes, numbers: Iterator[int] = numbers, damaged: int = damaged) -> bytes:
            kept = len(content) // 2
            is_whole = next(numbers) != damaged
            return content if is_whole else content[:kept].ljust(len(content), b"\x55")

        path = join(tmp_path, first, rewrite(first, tmp_path, "damaged.ts", edit=edit))
        (only,) = split(index_video(VideoSource(str(path))), 1)
        events = list(decode_segment(VideoSource(str(path)), only))
        frames = [event for event in events if not isinstance(event, Lost)]
        assert only.num_frames == len(whole)
        assert len(frames) < len(whole)
        assert [digest(frame.pixels) for frame in frames] == [whole[f.index] for f in frames]


def test_missing_bytes_inside_a_piece_cost_its_group(tmp_path: Path) -> None:
    path = write_video(tmp_path, replace(H264, size=(320, 240)))
    content = path.read_bytes()
    middle = len(content) // 188 // 2 * 188
    path.write_bytes(content[:middle] + content[middle + 188 :])
    (only,) = split(index_video(VideoSource(str(path))), 1)
    events = list(decode_segment(VideoSource(str(path)), only))
    assert any(isinstance(event, Lost) for event in events)


@pytest.mark.parametrize(
    ("name", "num_frames"), [("cat_rates.ts", 110), ("cat_same.ts", 100), ("cat_rates.mpg", 110)]
)
def test_a_real_joined_file_gives_all_frames(name: str, num_frames: int, shared_data: Path) -> None:
    path = shared_data / "cases" / "ts-joined" / name
    expected = serial_digests(path)
    assert len(expected) == num_frames
    times_of_whole(path, expected)
