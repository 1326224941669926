from pathlib import Path

import pytest

from fcos_core.errors import ConfigError
from jobs.runtime.worker import Worker
from jobs.tables.run_directory import RunDirectory
from jobs.verify import VerifyConfig, run
from tests.jobs.runtime.runs import begin_run, record_run, worker_settings

pytestmark = pytest.mark.usefixtures("_kept_threads")


@pytest.fixture
def complete(tmp_path: Path, pictures: Path, tiny_weights: Path) -> RunDirectory:
    """A complete run of four shards."""
    directory, shards = begin_run(tmp_path / "run", pictures, shard_size=5)
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
    assert result.failure.endswith("(and 1 more problems)")
    assert "swapped" in result.failure


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run directory"):
        run(VerifyConfig(run=str(tmp_path)))
