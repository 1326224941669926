"""Which detections are drawn on a frame that the run took, and on those between."""

from pathlib import Path

import pytest

from jobs.media.video import Sampling
from jobs.rendering.frame_rows import FrameRows, items_for
from jobs.rendering.shard_rows import ShardRows
from tests.jobs.media.mp4.clips import write_clip
from tests.jobs.rendering.runs import RUN_ID, RunOfATest


def frame_rows(folder: Path, every: int | None, between, *, without=()) -> FrameRows:
    sampling = None if every is None else Sampling(every_n_frames=every)
    run = RunOfATest()
    clip = write_clip(folder / "clip.mp4")
    run.video(clip, [(1, 0.9, (0, 0, 9, 9))], sampling=sampling, num_segments=4)
    directory = run.write(folder / "RUN", shard_size=1, without=without)
    shards = {
        number: ShardRows(
            run=directory.uri, run_id=RUN_ID, shard=number, attempts=(), num_planned=30
        )
        for number in directory.list_shards().shards.tolist()
    }
    return FrameRows(directory.read_manifest(), shards, between)


def places(rows: FrameRows) -> list[int | None]:
    found = [rows.of(i) for i in range(30)]
    return [None if row is None else row.frame_index for row in found]


def test_every_frame_has_its_own_row(tmp_path: Path):
    assert places(frame_rows(tmp_path, None, "hold")) == list(range(30))


def test_the_last_frame_taken_is_held(tmp_path: Path):
    assert places(frame_rows(tmp_path, 7, "hold")) == [i // 7 * 7 for i in range(30)]


def test_nothing_is_drawn_between(tmp_path: Path):
    assert places(frame_rows(tmp_path, 7, "none")) == [None if i % 7 else i for i in range(30)]


@pytest.mark.parametrize(("every", "bare"), [(None, range(16, 24)), (7, range(21, 28))])
def test_a_shard_that_is_not_committed_leaves_its_frames_bare(
    tmp_path: Path, every: int | None, bare: range
):
    found = places(frame_rows(tmp_path, every, "hold", without=[2]))

    # What was found before is not held in it.
    step = every or 1
    assert found == [None if i in bare else i // step * step for i in range(30)]


def test_a_range_is_given_the_segments_it_may_take_detections_from(tmp_path: Path):
    run = RunOfATest()
    run.video(write_clip(tmp_path / "clip.mp4"), num_segments=4)
    starts = [item.first_frame or 0 for item in run.items]

    assert starts == [0, 8, 16, 24]
    assert [i.first_frame for i in items_for(run.items, 0, 4)] == starts[:1]
    assert [i.first_frame for i in items_for(run.items, starts[1], 30)] == starts[1:]
    assert [i.first_frame for i in items_for(run.items, starts[1] - 1, starts[1] + 1)] == starts[:2]
