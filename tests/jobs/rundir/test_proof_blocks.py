"""The proof says the same however a run is cut into blocks, and whichever process proves them."""

from dataclasses import replace
from pathlib import Path

import pytest

from fcos_core.errors import ConfigError
from jobs.rundir import proof
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.writing import write_manifest
from jobs.rundir.proof import Proof, prove, rows_digest
from jobs.rundir.rows import items_to_table
from tests.jobs.rundir.strategies import (
    RUN_ID,
    a_record,
    a_segment,
    an_image,
    bad_row,
    commit_rows,
    ok_row,
)

NUM_SHARDS = 12
ITEMS = [
    an_image(i, i // 3)
    if i % 5
    else replace(
        a_segment(i, i // 3, image_id=1000 * i, first_frame=0, num_frames=4),
        uri=f"/videos/{i % 2}.mp4",
    )
    for i in range(3 * NUM_SHARDS)
]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Images and segments in twelve shards and four parts: some quarantined, one tried again."""
    run = RunDirectory(str(tmp_path / "run"))
    parts = [
        items_to_table([i for i in ITEMS if i.shard // 3 == n]) for n in range(NUM_SHARDS // 3)
    ]
    metadata = {"run_id": RUN_ID, "fingerprint": "f" * 64}
    assert write_manifest(run.uri, parts, metadata, plan_id="01234567")
    assert run.create_run_record(a_record())
    for shard in range(NUM_SHARDS):
        items = [item for item in ITEMS if item.shard == shard]
        rows = [ok_row(item, frame) for item in items for frame in item.frames()]
        if shard == 7:
            rows[1] = bad_row(items[1])
        if shard == 8:
            rows = [bad_row(items[0]), *rows[1:]]
        commit_rows(run, shard, rows)
    commit_rows(run, 7, [ok_row(next(item for item in ITEMS if item.item_id == 22))], attempt=2)
    return run


def damage(run: RunDirectory) -> None:
    """Let shards be missing, cut short, surplus and of another number."""
    Path(run.shard_uri(0)).unlink()
    Path(run.shard_uri(5)).write_bytes(b"PAR1")
    Path(run.shard_uri(9)).write_bytes(Path(run.shard_uri(10)).read_bytes())
    commit_rows(run, 99, [ok_row(ITEMS[1])])
    Path(run.uri, "detections", "notes.txt").touch()
    Path(run.uri, "detections", ".tmp-0123").touch()


def in_blocks_of(rows: int, run: RunDirectory, **options: int) -> Proof:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "_BLOCK_ROWS", rows)
        return prove(run, **options)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_blocks_of_any_size_prove_the_same(run: RunDirectory, *, is_damaged: bool):
    if is_damaged:
        damage(run)
    whole = in_blocks_of(10**9, run)
    assert whole.complete != is_damaged
    assert whole.num_problems == len(whole.problems) == (5 if is_damaged else 0)
    for rows in (1, 2, 7, 30):
        assert in_blocks_of(rows, run) == whole


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("is_damaged", [False, True])
def test_two_processes_prove_what_one_does(run: RunDirectory, *, is_damaged: bool):
    if is_damaged:
        damage(run)
    assert in_blocks_of(5, run, num_workers=2) == prove(run)


def test_only_the_first_problems_are_named_and_all_are_counted(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    for shard in range(NUM_SHARDS):
        Path(run.shard_uri(shard)).unlink()
    every = prove(run)
    monkeypatch.setattr(proof, "MAX_PROBLEMS", 3)
    for rows in (1, 10**9):
        few = in_blocks_of(rows, run)
        assert few.problems == every.problems[:3]
        assert few.num_problems == every.num_problems > NUM_SHARDS - 1
        assert f"(and {every.num_problems - 1} more problems)" in str(few.incompleteness)
        assert few.missing == every.missing == every.planned


def test_some_shards_are_proved_alone_and_have_no_digest(run: RunDirectory):
    whole = prove(run)
    parts = [prove(run, numbers=range(first, first + 4)) for first in (0, 4, 8)]
    assert [part.digest for part in parts] == [None] * 3
    assert all(part.complete for part in parts)
    for name in ("planned", "ok", "quarantined", "items_planned", "items_ok"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)
    Path(run.shard_uri(4)).unlink()
    assert [prove(run, numbers=range(n, n + 4)).missing > 0 for n in (0, 4, 8)] == [0, 1, 0]


def test_a_proof_sees_what_changed_since_the_one_before(run: RunDirectory):
    assert prove(run).complete
    (part,) = (Path(run.uri) / "manifest").glob("part-000001-*.parquet")
    sound = part.read_bytes()
    part.write_bytes(sound[:-1])
    with pytest.raises(ConfigError, match=f"{part.name}' is damaged"):
        prove(run)
    part.write_bytes(sound)
    assert prove(run).complete


def test_the_digest_of_rows_is_one_however_they_are_cut_and_the_runs_digest_is_not(
    tmp_path: Path,
):
    found: list[tuple[str | None, str]] = []
    for number, shard_size in enumerate((3, 4, 3)):
        items = [an_image(i, i // shard_size) for i in range(12)]
        run = RunDirectory(str(tmp_path / str(number)))
        metadata = {"run_id": RUN_ID, "fingerprint": "f" * 64}
        assert run.create_manifest(items_to_table(items), metadata)
        assert run.create_run_record(a_record())
        for shard in range(12 // shard_size):
            commit_rows(run, shard, [ok_row(item) for item in items if item.shard == shard])
        found.append((prove(run).digest, rows_digest(run)))
    assert found[0] == found[2]
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1]
