"""Where we depart from FFmpeg's own tools on purpose, as ``docs/video.md`` says."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from jobs.media.video.index import index_video
from jobs.media.video.sampling import Sampling
from jobs.media.video.source import VideoSource
from tests.jobs.media.video.making import Recipe, write_video

NUM_FRAMES = 120


def filtered(rate: int, fps: int) -> list[int]:
    """The frames that FFmpeg's filter ``fps`` shows, each by its place among 120."""
    graph = av.filter.Graph()
    shape = f"video_size=16x16:pix_fmt=gray:time_base=1/{rate}:pixel_aspect=1/1:frame_rate={rate}"
    first, middle = graph.add("buffer", args=shape), graph.add("fps", f"fps={fps}")
    last = graph.add("buffersink")
    first.link_to(middle)
    middle.link_to(last)
    graph.configure()
    shown: list[int] = []
    for number in [*range(NUM_FRAMES), None]:
        frame = None
        if number is not None:
            frame = av.VideoFrame.from_ndarray(np.full((16, 16), number, np.uint8), format="gray")
            frame.pts, frame.time_base = number, Fraction(1, rate)
        graph.push(frame)
        while True:
            try:
                shown.append(int(graph.pull().to_ndarray()[0, 0]))
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    return shown


@pytest.mark.parametrize(
    ("rate", "fps", "num_ours", "ours", "num_theirs", "theirs", "num_common"),
    [
        (24, 10, 50, [0, 3, 5, 8, 10], 50, [1, 3, 5, 8, 10], 40),
        (25, 10, 48, [0, 3, 5, 8, 10], 48, [1, 3, 6, 8, 11], 24),
        (30, 10, 40, [0, 3, 6, 9], 40, [1, 4, 7, 10], 0),
        (30, 24, 96, [0, 2, 3, 4, 5, 7], 95, [0, 1, 3, 4, 5, 6], 71),
        (50, 25, 60, [0, 2, 4], 60, [0, 2, 4], 60),
        (60, 1, 2, [0, 60], 2, [29, 89], 0),
        (10, 24, 120, [0, 1, 2, 3], 286, [0, 0, 1, 1, 1], 119),
    ],
)
def test_fps_takes_the_first_frame_of_each_slot_and_ffmpegs_filter_the_last_that_rounds_to_it(
    rate: int,
    fps: int,
    num_ours: int,
    ours: Sequence[int],
    num_theirs: int,
    theirs: Sequence[int],
    num_common: int,
):
    times = np.arange(NUM_FRAMES)
    taken = Sampling(fps=Fraction(fps)).choose(times, Fraction(1, rate)).tolist()
    shown = filtered(rate, fps)
    assert (len(taken), taken[: len(ours)]) == (num_ours, list(ours))
    assert (len(shown), shown[: len(theirs)]) == (num_theirs, list(theirs))
    assert len(set(taken) & set(shown)) == num_common


@pytest.mark.parametrize(
    ("time_base", "first"), [(Fraction(1, 30), 0), (Fraction(1, 12800), 1)], ids=["left", "filled"]
)
def test_times_of_an_avi_with_b_frames_are_counted_from_0_where_ffmpeg_leaves_one_out(
    tmp_path: Path, time_base: Fraction, first: int
):
    recipe = Recipe(
        codec="mpeg4",
        name="clip.avi",
        options={"bf": "2"},
        rate=30,
        num_frames=30,
        time_base=time_base,
    )
    path = write_video(tmp_path, recipe)
    with av.open(str(path)) as container:
        ffmpegs = [float(frame.time or 0) for frame in container.decode(video=0)]
    index = index_video(VideoSource(str(path)))
    ours = [float(tick * index.time_base) for tick in index.timestamps.tolist()]
    # FFmpeg's time of the last frame is wrong by another part of a frame.
    assert ours[:29] == pytest.approx([(number + first) / 30 for number in range(29)])
    assert ffmpegs[:29] == pytest.approx([(number + 1) / 30 for number in range(29)])
