import shutil
from pathlib import Path

import pytest

from fcos_core.errors import ConfigError
from jobs.rundir.directory import RunDirectory
from jobs.settings.detect import DetectConfig
from jobs.verify import VerifyConfig, run
from jobs.worker.worker import Worker
from tests.fuzz.finished import finish
from tests.jobs.worker.runs import begin_run, record_run, worker_settings


@pytest.fixture
def complete(tmp_path: Path, images: Path, tiny_weights: Path) -> RunDirectory:
    """A complete run of four shards."""
    directory, shards = begin_run(tmp_path / "run", images, shard_size=5)
    record_run(directory)
    worker = Worker(worker_settings(directory, tiny_weights))
    for shard in shards:
        worker.process(shard)
    worker.close()
    return directory


def test_a_complete_run_is_proved(complete: RunDirectory) -> None:
    result = run(VerifyConfig(run=complete.uri))
    assert result.failure is None
    summary = result.summary()
    assert summary["run"] == complete.uri
    assert (summary["planned"], summary["ok"], summary["quarantined"]) == (20, 18, 2)
    assert (summary["missing"], summary["duplicated"], summary["skipped"]) == (0, 0, 0)
    assert (summary["items_planned"], summary["items_missing"]) == (20, 0)
    assert len(summary["digest"]) == 64
    assert summary["digest_class"] == "exact"


def test_a_missing_shard_is_named_and_counted(complete: RunDirectory) -> None:
    Path(complete.shard_uri(2)).unlink()
    result = run(VerifyConfig(run=complete.uri))
    assert result.summary()["missing"] == 5
    assert result.summary()["digest"] is None
    assert result.failure is not None
    assert result.failure.startswith("5 of 20 rows are missing, 0 double: ")
    assert complete.shard_uri(2) in result.failure


def test_several_problems_are_counted(complete: RunDirectory) -> None:
    one, other = Path(complete.shard_uri(0)), Path(complete.shard_uri(1))
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    result = run(VerifyConfig(run=complete.uri))
    assert result.failure is not None
    assert result.failure.endswith("(and 1 more problem)")
    assert "swapped" in result.failure


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run directory"):
        run(VerifyConfig(run=str(tmp_path)))


@pytest.fixture(scope="module")
def retried(
    tmp_path_factory: pytest.TempPathFactory, images: Path, tiny_weights: Path
) -> RunDirectory:
    """A run of four shards with a retry of two; what a test damages in it, it must put right."""
    place = tmp_path_factory.mktemp("retried")
    shutil.copytree(images, place / "images")
    config = DetectConfig(
        inputs=(str(place / "images"),),
        out=str(place / "run"),
        weights=str(tiny_weights),
        shard_size=5,
        batch_size=2,
        threads_per_actor=1,
    )
    finish(config, repair=place / "images" / "05.png", source=place / "images" / "02.png")
    directory = RunDirectory(str(place / "run"))
    assert run(VerifyConfig(run=directory.uri)).failure is None
    return directory


IN_RETRIES = pytest.mark.parametrize("attempt", [None, 1], ids=["detections", "retries"])


def problems(directory: RunDirectory) -> list[str]:
    result = run(VerifyConfig(run=directory.uri))
    assert (result.failure is None) == (not result.proof.problems)
    assert (result.proof.digest is None) == bool(result.proof.problems)
    return result.proof.problems


@IN_RETRIES
def test_a_flipped_bit_at_any_sampled_byte_of_a_shard_is_named(
    retried: RunDirectory, attempt: int | None
) -> None:
    path = Path(retried.shard_uri(1, attempt))
    sound = path.read_bytes()
    for place in range(0, len(sound), 97):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        (problem,) = problems(retried)
        assert problem.startswith(f"{str(path)!r}: ")
    path.write_bytes(sound)
    assert problems(retried) == []


@IN_RETRIES
def test_a_shard_cut_at_any_sampled_length_is_named(
    retried: RunDirectory, attempt: int | None
) -> None:
    path = Path(retried.shard_uri(1, attempt))
    sound = path.read_bytes()
    for length in range(0, len(sound), 151):
        path.write_bytes(sound[:length])
        (problem,) = problems(retried)
        assert problem.startswith(f"{str(path)!r}: it ")
    path.write_bytes(sound)
    assert problems(retried) == []


def test_two_exchanged_retries_are_both_named(retried: RunDirectory) -> None:
    one, other = Path(retried.shard_uri(1, 1)), Path(retried.shard_uri(2, 1))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert [problem.split(": ")[0] for problem in problems(retried)] == [
        repr(str(one)),
        repr(str(other)),
    ]
    one.write_bytes(first)
    other.write_bytes(second)
    assert problems(retried) == []


def test_a_shard_under_another_name_is_named_and_so_is_its_absence(
    retried: RunDirectory,
) -> None:
    path = Path(retried.shard_uri(1))
    for name in ("shard-000009.parquet", "shard-1.parquet", "copy of shard-000001.parquet"):
        moved = path.rename(path.with_name(name))
        found = problems(retried)
        moved.rename(path)
        assert any(p.startswith(f"{str(path)!r}: missing, with 5 rows") for p in found)
        assert any(p.startswith(f"{str(moved)!r}: foreign") for p in found)
    assert problems(retried) == []


def test_a_shard_taken_for_a_retry_or_the_other_way_round_is_named(retried: RunDirectory) -> None:
    shard, retry = Path(retried.shard_uri(1)), Path(retried.shard_uri(1, 1))
    rows, again = shard.read_bytes(), retry.read_bytes()
    shard.write_bytes(again)
    assert any("planned rows are missing" in problem for problem in problems(retried))
    shard.write_bytes(rows)
    assert problems(retried) == []


def test_a_flipped_bit_of_the_manifest_means_that_nothing_can_be_proved(
    retried: RunDirectory,
) -> None:
    path = Path(retried.manifest_uri)
    sound = path.read_bytes()
    for place in range(0, len(sound), 151):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"index-000000\.parquet' is damaged"):
            run(VerifyConfig(run=retried.uri))
    path.write_bytes(sound)
    assert problems(retried) == []


def test_a_changed_name_of_a_category_in_the_record_is_named(retried: RunDirectory) -> None:
    path = Path(retried.run_uri)
    sound = path.read_text()
    path.write_text(sound.replace("thing_7", "thing_8"))
    (problem,) = problems(retried)
    reason = "its content has changed since it was written: the sha256 differs"
    remedy = "delete it, and the command that began the run makes it again"
    assert problem == f"{str(path)!r} is damaged: {reason}; {remedy}"
    path.write_text(sound)
    assert problems(retried) == []
