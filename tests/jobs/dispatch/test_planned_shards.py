"""A shard without items gets them from the manifest, in the worker's process."""

from pathlib import Path

import pytest

from fcos_core.errors import ConfigError, StorageError
from jobs.dispatch.actor import WorkerActor
from jobs.dispatch.planned_shards import PlannedShards, ShardLoader
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.writing import write_manifest
from jobs.rundir.rows import items_to_table
from jobs.rundir.shard import Failure, PlannedShard, Receipt, Shard
from tests.jobs.dispatch.scripted_workers import Sleeper, shard_of
from tests.jobs.rundir.strategies import an_image
from tests.jobs.worker.runs import settings_without_a_model

NUMBERS = (0, 1, 4, 5, 9)
ITEMS = [an_image(3 * i + j, number) for i, number in enumerate(NUMBERS) for j in range(3)]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Five shards of three images, in two parts."""
    run = RunDirectory(str(tmp_path))
    parts = [items_to_table(ITEMS[:6]), items_to_table(ITEMS[6:])]
    metadata = {"run_id": "r", "fingerprint": "f"}
    assert write_manifest(run.uri, parts, metadata, plan_id="00000000")
    return run


def items_of(number: int) -> tuple[object, ...]:
    return tuple(item for item in ITEMS if item.shard == number)


def test_the_shards_of_a_table_are_made_when_they_are_asked_for(run: RunDirectory):
    shards = PlannedShards(run.manifest().shards)
    assert list(shards) == [PlannedShard(number, 3) for number in NUMBERS]
    assert (len(shards), shards.num_rows) == (5, 15)
    assert list(shards[1:3]) == [PlannedShard(1, 3), PlannedShard(4, 3)]
    assert shards[-1] == PlannedShard(9, 3)
    assert PlannedShard(4, 3) in shards


def test_a_planned_shard_is_loaded_with_its_items_and_its_poison(run: RunDirectory):
    loader = ShardLoader(run.uri)
    for number in (9, 0, 5, 0, 1, 4):  # back and forth over the parts
        loaded = loader.load(PlannedShard(number, 3, {7: "it kills"}))
        assert loaded == Shard(number, items_of(number), {7: "it kills"})


def test_a_shard_that_has_its_items_needs_no_manifest(tmp_path: Path):
    shard = shard_of(3, "a", "b")
    assert ShardLoader(str(tmp_path / "none")).load(shard) is shard


def test_a_shard_that_the_manifest_does_not_have_is_refused(run: RunDirectory):
    with pytest.raises(StorageError, match=r"index-000000\.parquet' has no shard 2"):
        ShardLoader(run.uri).load(PlannedShard(2, 3))


def test_a_damaged_part_ends_the_run(run: RunDirectory):
    (part,) = Path(run.uri, "manifest").glob("part-000001-*.parquet")
    part.write_bytes(part.read_bytes()[:-1])
    loader = ShardLoader(run.uri)
    assert loader.load(PlannedShard(1, 3)).items == items_of(1)
    with pytest.raises(ConfigError, match=f"{part.name}' is damaged"):
        loader.load(PlannedShard(4, 3))


def actor_of(run: RunDirectory) -> WorkerActor:
    actor = WorkerActor(Sleeper, settings_without_a_model(run_uri=run.uri))
    actor.start()
    return actor


def test_an_actor_computes_planned_shards(run: RunDirectory):
    outcomes = actor_of(run).process(PlannedShard(4, 3, {6: "it kills"}), PlannedShard(5, 3))
    (receipt,) = outcomes
    assert isinstance(receipt, Receipt)
    assert (receipt.shard, receipt.num_ok, receipt.num_quarantined) == (4, 2, 1)


@pytest.mark.parametrize("shards", [(2, 4), (4, 2)])
def test_items_that_cannot_be_read_are_a_failure_of_the_shard_and_not_of_the_actor(
    run: RunDirectory, shards: tuple[int, int]
):
    current, upcoming = (PlannedShard(number, 3) for number in shards)
    (failure,) = actor_of(run).process(current, upcoming)
    assert isinstance(failure, Failure)
    assert failure.shard == current.number
    assert "has no shard 2" in failure.error
