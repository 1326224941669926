"""Retries of quarantined items: their items, their files, and drivers that retry at once."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.rundir.retries import Retry, plan_retry
from jobs.rundir.shard import Receipt
from jobs.rundir.shard_reading import iterate_rows
from jobs.worker.worker import Worker
from tests.jobs.worker.runs import begin_run, record_run, worker_settings

pytestmark = pytest.mark.usefixtures("_kept_threads")

BAD = (5, 11)


@pytest.fixture
def folder(tmp_path: Path, images: Path) -> Path:
    """The images, of which number 5 is cut short and number 11 is empty; to be repaired."""
    return Path(shutil.copytree(images, tmp_path / "images"))


@pytest.fixture
def run(tmp_path: Path, folder: Path, tiny_weights: Path) -> RunDirectory:
    """A complete run of five shards."""
    directory, shards = begin_run(tmp_path / "run", folder, shard_size=4)
    record_run(directory)
    worker = Worker(worker_settings(directory, tiny_weights))
    for shard in shards:
        worker.process(shard)
    worker.close()
    return directory


def repair(folder: Path, number: int) -> None:
    whole = folder / f"{(number + 3) % 20:02d}.png"  # every third is of one shape
    (folder / f"{number:02d}.png").write_bytes(whole.read_bytes())


def retry(run: RunDirectory, weights: Path, attempt: Retry) -> list[Receipt]:
    worker = Worker(worker_settings(run, weights, attempt=attempt.number))
    outcomes = [outcome for shard in attempt.shards for outcome in worker.process(shard)]
    worker.close()
    receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    assert len(receipts) == len(outcomes)
    return receipts


def quarantined(run: RunDirectory) -> list[int]:
    return [
        item_id
        for table in iterate_rows(run, columns=["item_id", "status"])
        for item_id, status in zip(*table.to_pydict().values(), strict=True)
        if status == "quarantined"
    ]


def test_a_retry_takes_the_quarantined_items_and_no_others(run: RunDirectory):
    attempt = plan_retry(run)
    assert attempt.number == 1
    taken = {shard.number: [item.item_id for item in shard.items] for shard in attempt.shards}
    assert taken == {1: [5], 2: [11]}


def test_a_repaired_image_is_recovered_and_nothing_committed_changes(
    run: RunDirectory, folder: Path, tiny_weights: Path
):
    before = {path: path.read_bytes() for path in Path(run.uri).rglob("*.parquet")}
    repair(folder, 5)
    attempt = plan_retry(run)
    receipts = retry(run, tiny_weights, attempt)
    assert [(r.shard, r.created, r.num_ok, r.changed_items) for r in receipts] == [
        (1, True, 1, (5,)),
        (2, True, 0, ()),
    ]
    assert quarantined(run) == [11]
    result = attempt.result()
    assert (result.number, result.num_items, result.num_recovered) == (1, 2, 1)
    proof = prove(run)
    assert proof.complete
    assert (proof.ok, proof.quarantined, proof.duplicated) == (19, 1, 0)
    after = {path: path.read_bytes() for path in Path(run.uri).rglob("*.parquet")}
    assert {path: after[path] for path in before} == before
    new = {str(path) for path in after.keys() - before.keys()}
    assert new == {run.shard_uri(1, 1), run.shard_uri(2, 1)}


def test_a_plain_reader_of_the_folder_of_shards_sees_each_item_once(
    run: RunDirectory, folder: Path, tiny_weights: Path
):
    repair(folder, 5)
    retry(run, tiny_weights, plan_retry(run))
    files = sorted(Path(run.uri, "detections").rglob("*.parquet"))
    ids = [id_ for path in files for id_ in pq.read_table(path)["item_id"].to_pylist()]
    assert ids == list(range(20))


def test_a_run_repaired_by_retries_has_the_digest_of_an_undamaged_run(
    run: RunDirectory, folder: Path, tiny_weights: Path, tmp_path: Path
):
    for number in BAD:
        repair(folder, number)
        retry(run, tiny_weights, plan_retry(run))
    whole, shards = begin_run(tmp_path / "whole", folder, shard_size=4)
    record_run(whole)
    worker = Worker(worker_settings(whole, tiny_weights))
    for shard in shards:
        worker.process(shard)
    worker.close()
    assert prove(run).digest == prove(whole).digest is not None


def test_items_that_a_killed_retry_recovered_count_and_the_next_retry_takes_the_others(
    run: RunDirectory, folder: Path, tiny_weights: Path
):
    for number in BAD:
        repair(folder, number)
    first = plan_retry(run)
    worker = Worker(worker_settings(run, tiny_weights, attempt=first.number))
    worker.process(first.shards[0])  # the retry is killed before the other shard
    worker.close()
    assert quarantined(run) == [11]
    second = plan_retry(run)
    assert second.number == 2
    assert [shard.number for shard in second.shards] == [2]
    retry(run, tiny_weights, second)
    assert quarantined(run) == []
    assert plan_retry(run).shards == ()
    assert prove(run).complete


def test_of_two_retries_with_one_number_the_second_drops_its_files(
    run: RunDirectory, folder: Path, tiny_weights: Path
):
    repair(folder, 5)
    one, other = plan_retry(run), plan_retry(run)
    assert [r.created for r in retry(run, tiny_weights, one)] == [True, True]
    committed = Path(run.shard_uri(1, 1)).read_bytes()
    assert [r.created for r in retry(run, tiny_weights, other)] == [False, False]
    assert Path(run.shard_uri(1, 1)).read_bytes() == committed
    proof = prove(run)
    assert (proof.ok, proof.quarantined, proof.duplicated) == (19, 1, 0)


def test_retries_that_overlap_with_two_numbers_give_each_item_one_row(
    run: RunDirectory, folder: Path, tiny_weights: Path
):
    slow = plan_retry(run)
    repair(folder, 5)
    worker = Worker(worker_settings(run, tiny_weights, attempt=1))
    worker.process(slow.shards[1])  # number 11, still empty
    worker.close()
    retry(run, tiny_weights, plan_retry(run))
    repair(folder, 11)
    worker = Worker(worker_settings(run, tiny_weights, attempt=1))
    worker.process(slow.shards[0])
    worker.close()
    third = plan_retry(run)
    assert third.number == 3
    assert [[item.item_id for item in shard.items] for shard in third.shards] == [[11]]
    retry(run, tiny_weights, third)
    proof = prove(run)
    assert proof.complete
    assert (proof.ok, proof.quarantined, proof.duplicated) == (20, 0, 0)


def test_an_item_that_is_recovered_in_its_planned_version_is_not_reported_as_changed(
    run: RunDirectory, folder: Path, tiny_weights: Path
):
    image = folder / "05.png"
    planned = image.stat()
    encoded = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    image.write_bytes(encoded.ljust(planned.st_size, b"\0"))
    os.utime(image, ns=(planned.st_atime_ns, planned.st_mtime_ns))
    (receipt, _) = retry(run, tiny_weights, plan_retry(run))
    assert receipt.num_ok == 1
    assert receipt.changed_items == ()


def test_an_item_that_was_missing_is_recovered_as_changed(
    tmp_path: Path, folder: Path, tiny_weights: Path
):
    listed = tmp_path / "list.txt"
    listed.write_text("images/00.png\nimages/new.png\n")
    run, shards = begin_run(tmp_path / "listed", listed, shard_size=4)
    record_run(run)
    worker = Worker(worker_settings(run, tiny_weights))
    worker.process(shards[0])
    worker.close()
    assert quarantined(run) == [1]
    (folder / "new.png").write_bytes((folder / "02.png").read_bytes())
    (receipt,) = retry(run, tiny_weights, plan_retry(run))
    assert receipt.changed_items == (1,)
    assert prove(run).ok == 2
