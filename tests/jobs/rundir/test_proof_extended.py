"""The proof of a run that was extended, before and while it is proved."""

from pathlib import Path

import pytest

from jobs.rundir.directory import RunDirectory, ShardListing
from jobs.rundir.proof import prove
from jobs.rundir.rows import items_to_table
from tests.jobs.rundir.manifest.manifests import extend
from tests.jobs.rundir.strategies import (
    an_image,
    begin_run,
    commit_rows,
    finish_run,
    images,
    ok_row,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Ten images in three shards, all committed."""
    run = begin_run(tmp_path / "run", images(10))
    finish_run(run)
    return run


def test_superseded_items_that_are_lost_are_named(run: RunDirectory):
    new = [items_to_table([an_image(10, 3)])]
    extend(Path(run.uri), new, superseded=[(0, 0, True)])
    commit_rows(run, 3, [ok_row(an_image(10, 3))])
    assert prove(run).complete
    (path,) = Path(run.uri, "manifest").glob("superseded-*.parquet")
    path.unlink()
    (problem,) = prove(run).problems
    assert f"{str(path)!r} cannot be read" in problem


def test_a_shard_of_an_extension_since_the_manifest_was_read_is_not_foreign(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    list_shards = RunDirectory.list_shards

    def list_after_an_extension(run: RunDirectory) -> ShardListing:
        monkeypatch.undo()
        extend(Path(run.uri), [items_to_table([an_image(10, 3)])])
        commit_rows(run, 3, [ok_row(an_image(10, 3))])
        return list_shards(run)

    monkeypatch.setattr(RunDirectory, "list_shards", list_after_an_extension)
    proof = prove(run)
    assert proof.problems == []
    assert (proof.planned, proof.ok) == (10, 10)
    assert (prove(run).planned, prove(run).ok) == (11, 11)
