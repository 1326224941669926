"""Videos that kill the process that decodes them: only the segment that kills is lost."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs.inputs.video_frames as segments_module
from jobs.dispatch.dispatch import dispatch
from jobs.media.video import Frame, Lost, Segment, VideoSource, decode_segment
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.rundir.rows import items_to_table
from jobs.rundir.shard import Receipt, Shard
from jobs.worker.messages import WorkerSettings
from jobs.worker.worker import Worker
from tests.jobs.media.video.making import Recipe, write_video
from tests.jobs.worker.runs import RUN_ID, record_run, rows_of, worker_settings
from tests.jobs.worker.test_videos import plan

KILLING_FRAME = 30


class DyingWorker(Worker):
    """Decodes with a decoder that dies of one frame of one video."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        segments_module.decode_segment = decode_until_death


def decode_until_death(source: VideoSource, segment: Segment) -> Iterator[Frame | Lost]:
    for event in decode_segment(source, segment):
        is_killer = source.uri.endswith("killer.mp4")
        if is_killer and isinstance(event, Frame) and event.index == KILLING_FRAME:
            ctypes.string_at(0)
        yield event


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_segment_that_crashes_the_decoder_is_one_row_and_its_neighbours_are_intact(
    tmp_path: Path, tiny_weights: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "killer.mp4", "z.mp4"):
        write_video(folder, Recipe(name=name, num_frames=60))
    items = plan(folder, shard_size=12)
    run = RunDirectory(str(tmp_path / "run"))
    assert run.create_manifest(items_to_table(items), {"run_id": RUN_ID, "fingerprint": "0"})
    record_run(run)
    shards = [Shard(number, tuple(group)) for number, group in run.manifest().iterate()]
    (killer,) = [
        item
        for item in items
        if item.uri.endswith("killer.mp4")
        and (item.first_frame or 0) <= KILLING_FRAME <= (item.last_frame or 0)
    ]
    receipts: list[Receipt] = []
    dispatch(
        shards,
        worker_settings(run, tiny_weights),
        num_actors=1,
        address=None,
        on_receipt=receipts.append,
        make_worker=DyingWorker,
    )
    proof = prove(run)
    assert proof.complete, proof.problems
    rows = [row for shard in shards for row in rows_of(run, shard.number)]
    (bad,) = (row for row in rows if row.status != "ok")
    assert (bad.frame_index, bad.last_frame) == (killer.first_frame, killer.last_frame)
    assert (bad.uri, bad.error_class) == (killer.uri, "WorkerDiedError")
    assert bad.error is not None
    assert bad.error.endswith("only this item died: killed by SIGSEGV")
    lost = range(killer.first_frame or 0, (killer.last_frame or 0) + 1)
    assert len(lost) < 60
    found = [row.frame_index for row in rows if row.uri == killer.uri and row.status == "ok"]
    assert found == [i for i in range(60) if i not in lost]
    assert sum(row.status == "ok" for row in rows) == 180 - len(lost)
