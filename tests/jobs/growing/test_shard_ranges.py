"""``--shards A-B``: several commands fill one run, each proves its own range."""

from pathlib import Path

import pytest

from jobs.detect import DetectConfig
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from tests.jobs.growing import (
    add,
    changed,
    command_of,
    config_of,
    detected,
    files_of,
    said,
    write_image,
)


@pytest.fixture
def config(folder: Path, tiny_weights: Path, tmp_path: Path) -> DetectConfig:
    return config_of(folder, tiny_weights, tmp_path / "run", shard_size=2)


def committed(config: DetectConfig) -> list[int]:
    return RunDirectory(config.out).list_shards().shards.tolist()


def test_ranges_in_any_order_fill_one_run_with_the_rows_of_a_single_command(
    config: DetectConfig, tmp_path: Path
) -> None:
    whole = detected(config, out=str(tmp_path / "whole"))
    seen: list[list[int]] = []
    for shards in ("4-5", "0-1", "3", "1-3"):
        result = detected(config, shards=shards)
        assert (result.failure, result.proof.digest) == (None, None)
        seen.append(committed(config))
    assert seen == [[4, 5], [0, 1, 4, 5], [0, 1, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    assert result.num_rows == 2  # of three shards in the last range, two were there
    assert prove(RunDirectory(config.out)).digest == whole.proof.digest
    assert detected(config).proof == whole.proof


def test_the_line_of_a_range_counts_the_range(
    config: DetectConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    code, summary, err = said(capsys, *command_of(config, "--shards", "1-2"))
    assert code == 0, err
    counts = ("planned", "ok", "missing", "items_planned", "items_missing")
    assert [summary[name] for name in counts] == [4, 4, 0, 4, 0]
    assert summary["digest"] is None
    code, summary, err = said(capsys, "verify", config.out)
    assert (code, summary["planned"], summary["missing"]) == (3, 12, 8)
    assert "shard-000000.parquet': missing" in err
    code, summary, _ = said(capsys, *command_of(config))
    assert (code, summary["planned"], len(summary["digest"])) == (0, 12, 64)


def test_a_range_that_reaches_beyond_the_run_is_cut_there(config: DetectConfig) -> None:
    assert detected(config, shards="5-999999999").proof.planned == 2
    assert committed(config) == [5]


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_range_behind_the_run_is_one_line_and_nothing_is_computed(
    config: DetectConfig, capsys: pytest.CaptureFixture[str], *, is_begun: bool
) -> None:
    if is_begun:
        detected(config, shards="0")
    before = files_of(config.out)
    code, summary, err = said(capsys, *command_of(config, "--shards", "6-9"))
    assert (code, summary) == (2, {})
    assert err == "error: --shards 6-9: the last shard of the run is 5\n"
    assert files_of(config.out) == before


@pytest.mark.parametrize("shards", ["5-3", "x", "-1", "1-", "1,2", "", "1-2-3", "9999999999"])
def test_what_is_no_range_is_one_line(
    config: DetectConfig, capsys: pytest.CaptureFixture[str], shards: str
) -> None:
    code, summary, err = said(capsys, *command_of(config, f"--shards={shards}"))
    assert (code, summary) == (2, {})
    assert err.startswith("error: --shards: ")
    assert err.count("\n") == 1
    assert not Path(config.out).exists()


def test_the_first_command_begins_the_run_and_the_others_keep_its_settings(
    config: DetectConfig, folder: Path
) -> None:
    detected(config, shards="0")
    assert RunDirectory(config.out).read_run_record().settings["shard_size"] == 2
    write_image(folder / "99.png", seed=1)  # what comes later is not in the run
    left_open = changed(config, shard_size=None, batch_size=None, shards="5")
    assert detected(left_open).proof.planned == 2
    assert RunDirectory(config.out).manifest().shards.total_items == 12


def test_damage_in_another_range_is_another_commands_business(config: DetectConfig) -> None:
    detected(config)
    shard = Path(RunDirectory(config.out).shard_uri(4))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert detected(config, shards="0-3").failure is None
    failure = detected(config, shards="3-4").failure
    assert failure is not None
    assert "shard-000004.parquet" in failure
    assert failure.startswith("2 of 4 rows are missing")


def test_a_limit_of_bad_rows_counts_those_of_the_range(config: DetectConfig, folder: Path) -> None:
    (folder / "00.png").write_bytes(b"")
    (folder / "04.png").write_bytes(b"")
    detected(config)
    assert detected(config, shards="1", max_bad="0").failure is None
    failure = detected(config, shards="0-1", max_bad="0").failure
    assert failure is not None
    assert failure.startswith("1 of 4 rows are quarantined, --max-bad 0 allows 0")


def test_only_quarantined_items_of_the_range_are_tried_again(
    config: DetectConfig, folder: Path
) -> None:
    for number in (0, 4, 10):
        (folder / f"{number:02d}.png").write_bytes(b"")
    detected(config)
    for number in (0, 4, 10):
        write_image(folder / f"{number:02d}.png", seed=number)
    summary = detected(config, shards="2-3", retry_quarantined=True).summary()
    assert (summary["items_retried"], summary["items_recovered"]) == (1, 1)
    assert sorted(path.name for path in Path(config.out, "retries").rglob("*.parquet")) == [
        "shard-000002.parquet"
    ]
    summary = detected(config, shards="3-4", retry_quarantined=True).summary()
    assert (summary["attempt"], summary["items_retried"]) == (None, 0)
    summary = detected(config, retry_quarantined=True).summary()
    assert (summary["items_retried"], summary["quarantined"]) == (2, 0)


def test_an_extension_is_computed_by_ranges_too(config: DetectConfig, folder: Path) -> None:
    detected(config)
    add(folder)
    first = detected(config, extend=True, shards="6")
    assert (first.summary()["inputs_new"], first.num_rows) == (6, 2)
    second = detected(config, extend=True, shards="7-8")
    assert (second.summary()["inputs_new"], second.num_rows) == (0, 4)
    assert detected(config).proof.ok == 18


def test_a_dry_run_refuses_a_range_behind_the_run_as_the_command_would(
    config: DetectConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    detected(config, shards="0")
    code, summary, err = said(capsys, *command_of(config, "--shards", "6-9", "--dry-run"))
    assert (code, summary) == (2, {})
    assert err == "error: --shards 6-9: the last shard of the run is 5\n"
