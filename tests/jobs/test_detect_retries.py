"""Quarantined items of a run, tried again: only when it is asked for, and only those."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import jobs.dispatch.dispatch as dispatch_module
from fcos_core.errors import ConfigError
from jobs.detect import DetectConfig, DetectResult, run
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.rundir.rows import Row, table_to_rows
from jobs.rundir.shard_reading import read_shard
from jobs.rundir.shard_writing import commit_shard, encode_shard
from tests.fuzz.finished import finish


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every attempt to reach a cluster fail the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr(dispatch_module, "connected", refuse)


@pytest.fixture
def complete(tmp_path: Path, images: Path, tiny_weights: Path) -> DetectConfig:
    """The command of a complete run, with one quarantined item in each of shards 0 and 1."""
    config = DetectConfig(
        inputs=(str(images),),
        out=str(tmp_path / "run"),
        weights=str(tiny_weights),
        shard_size=6,
        batch_size=3,
        threads_per_actor=1,
        num_actors=1,
    )
    finish(config)
    return config


def detected(config: DetectConfig) -> DetectResult:
    result = run(config)
    assert isinstance(result, DetectResult)
    return result


def changed(config: DetectConfig, **changes: Any) -> DetectConfig:
    return DetectConfig(**{**config.model_dump(), **changes})


def files_of(run_uri: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(run_uri).rglob("*") if path.is_file()}


def test_quarantined_items_are_tried_again_only_when_asked(
    ray: object, tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    del ray
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    config = DetectConfig(
        inputs=(str(folder),),
        out=str(tmp_path / "run"),
        weights=str(tiny_weights),
        shard_size=6,
        num_actors=1,
        threads_per_actor=1,
    )
    before = detected(config)
    assert before.proof.quarantined == 2
    assert "attempt" not in before.summary()
    shutil.copy(folder / "02.png", folder / "05.png")
    committed = files_of(before.run)
    assert detected(config).proof == before.proof
    again = changed(config, retry_quarantined=True)
    plan = run(changed(again, dry_run=True))
    assert not isinstance(plan, DetectResult)
    assert plan.summary()["items_to_retry"] == 2
    assert files_of(before.run) == committed
    result = detected(again)
    summary = result.summary()
    names = ("ok", "quarantined", "attempt", "items_retried", "items_recovered")
    assert [summary[name] for name in names] == [19, 1, 1, 2, 1]
    assert result.num_rows == 2
    assert result.failure is None
    after = files_of(before.run)
    assert {name: after[name] for name in committed} == committed
    log = next(name for name in after.keys() - committed.keys() if "/events/" in name)
    events = [json.loads(line) for line in after[log].decode().splitlines()]
    assert events[0]["attempt"] == 1
    assert [event["changed_items"] for event in events[1:-1]] == [[5], []]
    failure = detected(changed(config, max_bad="0")).failure
    assert failure is not None
    assert failure.startswith("1 of 20 rows are quarantined, --max-bad 0 allows 0; the first: ")
    assert "11.png" in failure


@pytest.mark.usefixtures("no_ray")
def test_nothing_is_tried_again_where_nothing_is_quarantined(
    complete: DetectConfig,
) -> None:
    for shard in (0, 1):
        recover(RunDirectory(complete.out), shard)
    before = files_of(complete.out)
    summary = detected(changed(complete, retry_quarantined=True)).summary()
    assert (summary["attempt"], summary["items_retried"], summary["quarantined"]) == (None, 0, 0)
    assert files_of(complete.out) == before


def recover(directory: RunDirectory, shard: int) -> None:
    """Write what a retry of a shard's quarantined items could have committed."""
    run_id = directory.manifest().metadata["run_id"]
    rows = [
        Row.ok(
            item_id=row.item_id,
            image_id=row.image_id,
            uri=row.uri,
            width=1,
            height=1,
            boxes=row.boxes,
            scores=row.scores,
            category_ids=row.category_ids,
        )
        for row in table_to_rows(read_shard(directory, shard).table)
        if row.status == "quarantined"
    ]
    data = encode_shard(rows, run_id=run_id, shard=shard)
    assert commit_shard(directory, shard, data, attempt=1)


@pytest.mark.usefixtures("no_ray")
def test_there_must_be_a_run_to_retry_in(complete: DetectConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no run at '.*mistyped' to retry"):
        run(changed(complete, out=str(tmp_path / "mistyped"), retry_quarantined=True))
    assert not (tmp_path / "mistyped").exists()


def test_what_is_missing_is_computed_first_and_not_tried_twice(
    ray: object, complete: DetectConfig
) -> None:
    del ray
    expected = prove(RunDirectory(complete.out)).digest
    shard = Path(RunDirectory(complete.out).shard_uri(1))  # item 11 is bad
    shard.unlink()
    result = detected(changed(complete, retry_quarantined=True))
    assert result.proof.digest == expected
    assert result.num_rows == 6 + 1
    retried = sorted(path.name for path in Path(complete.out, "retries").rglob("*.parquet"))
    assert retried == ["shard-000000.parquet"]
