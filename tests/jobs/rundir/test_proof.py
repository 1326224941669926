"""The proof names every way in which a run is not what its manifest plans."""

import multiprocessing
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fcos_core.errors import ConfigError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof, prove
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.shard_writing import commit_shard, encode_shard
from tests.jobs.rundir.strategies import (
    RUN_ID,
    a_record,
    a_segment,
    bad_row,
    begin_run,
    commit_rows,
    finish_run,
    images,
    ok_row,
)

ITEMS = images(10)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Ten images in three shards, all committed."""
    run = begin_run(tmp_path / "run", ITEMS)
    finish_run(run)
    return run


def counts(proof: Proof) -> tuple[int, int, int, int, int]:
    assert proof.planned == proof.ok + proof.quarantined + proof.missing
    assert proof.items_planned == proof.items_ok + proof.items_quarantined + proof.items_missing
    assert proof.complete == (proof.digest is not None)
    assert not any("\n" in problem for problem in proof.problems)
    return proof.planned, proof.ok, proof.quarantined, proof.missing, proof.duplicated


def recommit(run: RunDirectory, shard: int, rows: list[Row], **footer: str) -> None:
    path = Path(run.shard_uri(shard))
    path.unlink(missing_ok=True)
    path.write_bytes(encode_shard(rows, run_id=footer.get("run_id", RUN_ID), shard=shard))


def only_problem(proof: Proof) -> str:
    assert not proof.complete
    assert len(proof.problems) == 1, proof.problems
    return proof.problems[0]


def test_a_finished_run_is_complete(run: RunDirectory):
    proof = prove(run)
    assert proof.complete
    assert counts(proof) == (10, 10, 0, 0, 0)
    assert (proof.items_planned, proof.items_ok) == (10, 10)
    assert proof.problems == []
    assert proof.digest_class == "exact"
    assert len(proof.digest or "") == 64


def test_quarantined_items_are_accounted_for(run: RunDirectory):
    recommit(run, 1, [ok_row(ITEMS[4]), bad_row(ITEMS[5]), bad_row(ITEMS[6]), ok_row(ITEMS[7])])
    proof = prove(run)
    assert proof.complete
    assert counts(proof) == (10, 8, 2, 0, 0)
    assert (proof.items_ok, proof.items_quarantined) == (8, 2)


def test_the_digest_does_not_depend_on_the_order_of_commits_or_the_run_id(tmp_path: Path):
    digests: set[str | None] = set()
    for i, order in enumerate(([0, 1, 2], [2, 0, 1])):
        run = RunDirectory(str(tmp_path / str(i)))
        run_id = f"run {i}"
        run.create_manifest(items_to_table(ITEMS), {"run_id": run_id, "fingerprint": "f" * 64})
        run.create_run_record(a_record(run_id))
        for shard in order:
            rows = [ok_row(item) for item in ITEMS if item.shard == shard]
            commit_shard(run, shard, encode_shard(rows, run_id=run_id, shard=shard))
        digests.add(prove(run).digest)
    assert len(digests) == 1
    assert None not in digests


def test_a_changed_row_changes_the_digest(run: RunDirectory):
    before = prove(run).digest
    row = ok_row(ITEMS[8])
    recommit(run, 2, [replace(row, width=641), ok_row(ITEMS[9])])
    after = prove(run)
    assert after.complete
    assert after.digest != before


def test_one_shard_of_tolerance_makes_the_run_so(run: RunDirectory):
    rows = [ok_row(item) for item in ITEMS[8:]]
    data = encode_shard(rows, run_id=RUN_ID, shard=2, digest_class="tolerance")
    Path(run.shard_uri(2)).write_bytes(data)
    assert prove(run).digest_class == "tolerance"


def test_a_deleted_shard_is_named(run: RunDirectory):
    Path(run.shard_uri(1)).unlink()
    proof = prove(run)
    assert counts(proof) == (10, 6, 0, 4, 0)
    assert proof.items_missing == 4
    assert only_problem(proof) == f"{run.shard_uri(1)!r}: missing, with 4 rows of items 4 to 7"


@pytest.mark.parametrize(
    ("length", "reason"),
    [(0, "is empty"), (2, "does not begin"), (1000, "cut short"), (-1, "cut short")],
)
def test_a_truncated_shard_is_named(run: RunDirectory, length: int, reason: str):
    path = Path(run.shard_uri(1))
    path.write_bytes(path.read_bytes()[:length])
    proof = prove(run)
    assert counts(proof) == (10, 6, 0, 4, 0)
    assert reason in only_problem(proof)
    assert run.shard_uri(1) in only_problem(proof)
    remedy = "; delete it and give the command that began the run again"
    assert only_problem(proof).endswith(remedy)
    path.unlink()
    commit_rows(run, 1, [ok_row(item) for item in ITEMS[4:8]])
    assert prove(run).complete


def test_a_truncated_file_of_a_retry_is_named_with_its_own_remedy(run: RunDirectory):
    data = encode_shard([ok_row(ITEMS[4])], run_id=RUN_ID, shard=1)
    assert commit_shard(run, 1, data[:-1], attempt=1)
    problem = only_problem(prove(run))
    assert run.shard_uri(1, 1) in problem
    assert problem.endswith("give the command that began the run again, with --retry-quarantined")


def test_one_item_and_one_shard_are_not_said_as_many(tmp_path: Path):
    alone = begin_run(tmp_path, images(1))
    problem = f"{alone.shard_uri(0)!r}: missing, with 1 row of item 0"
    assert only_problem(prove(alone)) == problem
    commit_rows(alone, 7, [ok_row(images(1)[0])])
    proof = prove(alone)
    assert proof.problems[1].endswith("foreign: the manifest has 1 shard, none with number 7")
    assert (
        proof.incompleteness == f"1 of 1 rows are missing, 0 double: {problem} (and 1 more problem)"
    )


def test_every_flipped_bit_is_named(run: RunDirectory):
    path = Path(run.shard_uri(1))
    good = path.read_bytes()
    for place in range(0, len(good), 97):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert run.shard_uri(1) in only_problem(prove(run))
    path.write_bytes(good)
    assert prove(run).complete


def test_two_exchanged_shards_are_both_named(run: RunDirectory):
    one, two = Path(run.shard_uri(1)), Path(run.shard_uri(2))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    proof = prove(run)
    assert counts(proof) == (10, 4, 0, 6, 0)
    assert len(proof.problems) == 2
    assert "shard-000001" in proof.problems[0]
    assert "holds shard 2" in proof.problems[0]
    assert "shard-000002" in proof.problems[1]
    assert "holds shard 1" in proof.problems[1]


def test_a_shard_of_another_run_is_named(run: RunDirectory):
    recommit(run, 2, [ok_row(item) for item in ITEMS[8:]], run_id="another")
    proof = prove(run)
    assert counts(proof) == (10, 8, 0, 2, 0)
    assert "foreign: it is of run another" in only_problem(proof)


def test_a_number_the_manifest_does_not_have_is_named(run: RunDirectory):
    commit_rows(run, 3, [ok_row(ITEMS[0])])
    assert "shard-000003.parquet': foreign: the manifest has 3 shards" in only_problem(prove(run))


@pytest.mark.parametrize("name", ["notes.txt", "shard-1.parquet", "part-0.parquet", "more/x"])
def test_an_unknown_name_is_named(run: RunDirectory, name: str):
    path = Path(run.uri, "detections", name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    assert only_problem(prove(run)).startswith(f"{str(path)!r}: foreign")


def test_what_killed_attempts_leave_is_no_problem(run: RunDirectory):
    Path(run.uri, "detections", ".tmp-0123").write_bytes(b"half")
    proof = prove(run)
    assert proof.complete
    assert proof.leftovers == 1


A, B, C, D = (ok_row(item) for item in ITEMS[4:8])


@pytest.mark.parametrize(
    ("rows", "numbers", "reason"),
    [
        pytest.param([A, B, D], (10, 9, 0, 1, 0), "1 planned row is missing, .* item 6", id="gap"),
        pytest.param([A, B, C, C, D], (10, 10, 0, 0, 1), "is double, .* item 6", id="twice"),
        pytest.param([A, C, B, D], (10, 10, 0, 0, 0), "not in manifest order", id="order"),
        pytest.param(
            [A, B, C, D, ok_row(ITEMS[0])],
            (10, 10, 0, 0, 0),
            "not planned.* item 0",
            id="another's",
        ),
        pytest.param(
            [A, B, C, ok_row(replace(ITEMS[7], uri="/x"))],
            (10, 9, 0, 1, 0),
            "not planned.*'/x'",
            id="uri",
        ),
        pytest.param(
            [A, B, C, replace(D, image_id=99)], (10, 9, 0, 1, 0), "not planned.*99", id="image_id"
        ),
        pytest.param(
            [A, B, C, replace(D, frame_index=0)],
            (10, 9, 0, 1, 0),
            "not planned.*frame 0",
            id="frame",
        ),
        pytest.param([A, B, C, replace(D, error="x")], (10, 10, 0, 0, 0), "disagree", id="status"),
        pytest.param(
            [A, B, C, replace(D, width=None)], (10, 10, 0, 0, 0), "disagree", id="ok without a size"
        ),
    ],
)
def test_rows_that_are_not_those_planned_are_named(
    run: RunDirectory, rows: list[Row], numbers: tuple[int, ...], reason: str
):
    recommit(run, 1, rows)
    proof = prove(run)
    assert counts(proof) == numbers
    assert any(run.shard_uri(1) in problem for problem in proof.problems)
    assert any(re.search(reason, problem) for problem in proof.problems)


def test_several_problems_are_all_named(run: RunDirectory):
    Path(run.shard_uri(0)).unlink()
    Path(run.shard_uri(1)).write_bytes(b"")
    Path(run.uri, "detections", "x").write_bytes(b"")
    assert len(prove(run).problems) == 3


def test_a_run_killed_before_its_record_is_not_complete(run: RunDirectory):
    Path(run.run_uri).unlink()
    proof = prove(run)
    assert counts(proof) == (10, 10, 0, 0, 0)
    assert "run.json' is missing" in only_problem(proof)


def test_a_record_of_another_run_is_named(run: RunDirectory):
    Path(run.run_uri).unlink()
    run.create_run_record(a_record("another"))
    assert "run.json': foreign" in only_problem(prove(run))


def test_without_a_manifest_nothing_can_be_said(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no manifest/index-000000\.parquet"):
        prove(RunDirectory(str(tmp_path)))


def test_a_retry_counts_and_its_damage_is_named(run: RunDirectory):
    healthy = prove(run).digest
    recommit(run, 2, [ok_row(ITEMS[8]), bad_row(ITEMS[9])])
    assert counts(prove(run)) == (10, 9, 1, 0, 0)
    commit_rows(run, 2, [ok_row(ITEMS[9])], attempt=1)
    proof = prove(run)
    assert counts(proof) == (10, 10, 0, 0, 0)
    assert proof.digest == healthy
    retry = Path(run.shard_uri(2, 1))
    retry.write_bytes(retry.read_bytes()[:-1])
    assert f"{str(retry)!r}: it is cut short" in only_problem(prove(run))
    retry.unlink()
    commit_rows(run, 2, [ok_row(ITEMS[0])], attempt=1)
    assert "not planned" in only_problem(prove(run))


VIDEO = [
    a_segment(0, 0, image_id=1, first_frame=0, num_frames=3),
    a_segment(1, 0, image_id=4, first_frame=3, num_frames=2),
    *(replace(item, item_id=2, shard=1, image_id=6) for item in images(1)),
]


def frames(item: ManifestItem, story: str) -> list[Row]:
    """A letter per frame: ``o`` is ok, a number begins so many that are lost, ``.`` has no row."""
    first = item.first_frame or 0
    return [
        ok_row(item, first + i)
        if letter == "o"
        else bad_row(item, first + i, last=first + i + int(letter) - 1)
        for i, letter in enumerate(story)
        if letter != "."
    ]


@pytest.mark.parametrize(
    ("first", "second", "rows", "items"),
    [
        pytest.param("ooo", "oo", (6, 6, 0, 0, 0), (3, 0, 0), id="all ok"),
        pytest.param("o11", "oo", (6, 4, 2, 0, 0), (2, 1, 0), id="fails in the middle"),
        pytest.param("o2", "oo", (6, 4, 2, 0, 0), (2, 1, 0), id="two lost together"),
        pytest.param("2.o", "oo", (6, 4, 2, 0, 0), (2, 1, 0), id="a frame after lost ones"),
        pytest.param("2oo", "oo", (6, 5, 1, 0, 0), (2, 1, 0), id="a row of its own says more"),
        pytest.param("3", "oo", (6, 3, 3, 0, 0), (2, 1, 0), id="fails at its first frame"),
        pytest.param("9", "oo", (6, 3, 3, 0, 0), (2, 1, 0), id="speaks for its item only"),
        pytest.param("o", "oo", (6, 4, 0, 2, 0), (2, 0, 1), id="frames missing"),
        pytest.param("11", "oo", (6, 3, 2, 1, 0), (2, 0, 1), id="a quarantined frame missing"),
        pytest.param("2", "oo", (6, 3, 2, 1, 0), (2, 0, 1), id="a frame behind lost ones missing"),
        pytest.param("ooo", "", (6, 4, 0, 2, 0), (2, 0, 1), id="a segment missing"),
    ],
)
def test_segments_have_a_row_per_frame(
    tmp_path: Path, first: str, second: str, rows: tuple[int, ...], items: tuple[int, ...]
):
    run = begin_run(tmp_path, VIDEO)
    commit_rows(run, 0, frames(VIDEO[0], first) + frames(VIDEO[1], second))
    commit_rows(run, 1, [ok_row(VIDEO[2])])
    proof = prove(run)
    assert counts(proof) == rows
    assert (proof.items_ok, proof.items_quarantined, proof.items_missing) == items
    assert proof.complete == (rows[3] == 0)


def test_a_sampled_segment_has_the_rows_of_its_sample(tmp_path: Path):
    item = replace(a_segment(0, 0, image_id=1, first_frame=4, num_frames=4), sampling="5,7*2 1,2*2")
    run = begin_run(tmp_path, [item])
    places = (4, 9, 16, 23)
    rows = [
        replace(ok_row(item, frame), image_id=item.image_id + i) for i, frame in enumerate(places)
    ]
    lost = replace(bad_row(item, 9, last=16), image_id=item.image_id + 1)
    commit_rows(run, 0, [rows[0], lost, rows[3]])
    assert counts(prove(run)) == (4, 2, 2, 0, 0)
    recommit(run, 0, [*rows[:3], replace(rows[3], frame_index=24)])
    assert not prove(run).complete


def test_a_row_of_lost_frames_that_ends_before_it_begins_is_named(tmp_path: Path):
    run = begin_run(tmp_path, VIDEO[:1])
    commit_rows(run, 0, [ok_row(VIDEO[0], 0), bad_row(VIDEO[0], 1, last=0), ok_row(VIDEO[0], 2)])
    assert "1 row whose status, error, detections and last_frame disagree" in only_problem(
        prove(run)
    )


def commit_all(folder: str) -> None:
    finish_run(RunDirectory(folder))


def test_killed_at_random_moments_a_run_ends_with_the_digest_of_an_undisturbed_one(tmp_path: Path):
    items = images(160, shard_size=2)
    undisturbed = begin_run(tmp_path / "undisturbed", items)
    finish_run(undisturbed)
    run = begin_run(tmp_path / "killed", items)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.jobs.rundir.strategies"])
    generator = np.random.default_rng(0)
    num_killed = 0
    for _ in range(5):
        process = processes.Process(target=commit_all, args=(run.uri,))
        before = len(run.list_shards().shards)
        process.start()
        end_s = time.monotonic() + 60
        while len(run.list_shards().shards) == before and time.monotonic() < end_s:
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.05))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        num_killed += process.exitcode == -signal.SIGKILL
    between = prove(run)
    assert num_killed == 5
    assert between.ok + between.missing == 160
    assert all("missing" in problem for problem in between.problems)
    finish_run(run)
    assert prove(run).digest == prove(undisturbed).digest
