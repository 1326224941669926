"""Runs that an earlier version left (tests/golden) are verified, resumed, reported and drawn."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.commands import main
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, table_to_rows
from jobs.rundir.shard_reading import iterate_rows
from tests.commands import ROOT

GOLDEN = ROOT / "tests" / "golden"
DIGEST = "e64e3a0d4ba1868075089a633ab1cc968d554a8ea1f9219445aae57f3d8f0e44"
COUNTS = {"planned": 17, "ok": 16, "quarantined": 1, "missing": 0, "duplicated": 0}

PLACE = Path("/tmp/fcos-golden/dataset")  # noqa: S108 -- both manifests name it
COMMAND = (
    *("detect", PLACE / "images", PLACE / "videos" / "shapes.mp4", "--weights", "demo"),
    *("--score-threshold", 0.3, "--shard-size", 3, "--batch-size", 1),
    *("--threads-per-actor", 1, "--num-actors", 1),
)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A copy of the complete run."""
    return shutil.copytree(GOLDEN / "finished", tmp_path / "finished")


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A copy of the run whose driver was killed before the last shard."""
    return shutil.copytree(GOLDEN / "unfinished", tmp_path / "unfinished")


@pytest.fixture
def dataset(unfinished: Path) -> Path:
    """The inputs where the manifests say, with the times of their last change that these record."""
    items = [item for item in RunDirectory(str(unfinished)).read_manifest() if not item.first_frame]
    PLACE.parent.mkdir(exist_ok=True)
    with PLACE.with_name("dataset.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PLACE.exists():
            put_dataset(items)
    others = [item.uri for item in items if not is_as_planned(item)]
    if others:
        pytest.skip(f"{PLACE} is taken by another dataset: {', '.join(others)} differ")
    return PLACE


def put_dataset(items: list[ManifestItem]) -> None:
    """Copy the dataset to its place; it appears there when it is whole."""
    part = PLACE.with_name("dataset.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(GOLDEN / "dataset", part)
    for item in items:
        assert item.mtime_ns is not None
        os.utime(part / Path(item.uri).relative_to(PLACE), ns=(item.mtime_ns, item.mtime_ns))
    part.rename(PLACE)


def is_as_planned(item: ManifestItem) -> bool:
    path = Path(item.uri)
    original = GOLDEN / "dataset" / path.relative_to(PLACE)
    return (
        path.is_file()
        and path.read_bytes() == original.read_bytes()
        and path.stat().st_mtime_ns == item.mtime_ns
    )


def answer(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any, str]:
    """Run ``fcos`` in this process: its exit code, its line of JSON, its standard error."""
    code = main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return code, json.loads(out or "{}"), err


def test_the_finished_run_is_verified_with_its_digest(
    finished: Path, capfd: pytest.CaptureFixture[str]
):
    code, summary, _ = answer(capfd, "verify", finished)
    assert code == 0
    assert {name: summary[name] for name in COUNTS} == COUNTS
    assert (summary["digest"], summary["digest_class"]) == (DIGEST, "exact")
    rows = [
        row for table in iterate_rows(RunDirectory(str(finished))) for row in table_to_rows(table)
    ]
    (bad,) = (row for row in rows if row.status != "ok")
    assert bad.error_class == "ImageError"
    assert bad.error == (
        f"{PLACE}/images/broken.jpg: not a supported image: begins with b'not an image'"
    )


def test_the_inputs_of_the_finished_run_are_listed_again(
    finished: Path, dataset: Path, capfd: pytest.CaptureFixture[str]
):
    assert dataset.exists()
    code, summary, _ = answer(capfd, "verify", finished, "--inputs")
    names = ("inputs_new", "inputs_changed", "inputs_vanished")
    assert (code, *(summary[name] for name in names)) == (0, 0, 0, 0)


def test_the_missing_shard_of_the_unfinished_run_is_named(
    unfinished: Path, capfd: pytest.CaptureFixture[str]
):
    code, summary, err = answer(capfd, "verify", unfinished)
    assert code == 3
    assert (summary["missing"], summary["digest"]) == (6, None)
    assert "shard-000003.parquet': missing, with 6 rows" in err
    assert err.splitlines()[-1].startswith("error: 6 of 17 rows are missing")


@pytest.mark.parametrize(
    "allowed",
    [
        pytest.param([], id="plain"),
        pytest.param(["--allow-mixed-devices"], id="mixed"),
        pytest.param(["--allow-version-change"], id="another version"),
    ],
)
@pytest.mark.usefixtures("dataset")
def test_a_run_of_older_tables_is_not_resumed_and_stays_as_it_is(
    unfinished: Path, allowed: list[str], capfd: pytest.CaptureFixture[str]
):
    before = {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()}
    code, summary, err = answer(capfd, *COMMAND, "--out", unfinished, *allowed)
    assert (code, summary) == (2, {})
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert f"{str(unfinished)!r} has tables of version 2, this writes version 3: " in line
    assert line.endswith("resume it with the version that began it, or give another --out")
    assert {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("dataset")
def test_no_quarantined_item_of_a_run_of_older_tables_is_tried_again(
    finished: Path, capfd: pytest.CaptureFixture[str]
):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    code, _, err = answer(capfd, *COMMAND, "--out", finished, "--retry-quarantined")
    assert code == 2
    assert "has tables of version 2, this writes version 3" in err.splitlines()[-1]
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("dataset")
def test_no_record_is_written_into_a_run_of_older_tables(
    unfinished: Path, capfd: pytest.CaptureFixture[str]
):
    (unfinished / "run.json").unlink()
    code, _, err = answer(capfd, *COMMAND, "--out", unfinished)
    assert code == 2
    assert "has tables of version 2, this writes version 3" in err.splitlines()[-1]
    assert not (unfinished / "run.json").exists()


@pytest.mark.usefixtures("dataset")
def test_the_finished_run_is_finished_for_this_version_too(
    finished: Path, capfd: pytest.CaptureFixture[str]
):
    code, summary, err = answer(capfd, *COMMAND, "--out", finished)
    assert code == 0, err
    assert {name: summary[name] for name in COUNTS} == COUNTS
    assert summary["digest"] == DIGEST


def test_the_finished_run_is_reported_and_drawn_from_a_dataset_that_has_moved(
    finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    moved = shutil.copytree(GOLDEN / "dataset", tmp_path / "moved")
    code, reported, err = answer(capfd, "report", finished, "--image-root", moved)
    assert code == 0, err
    page = Path(reported["report"]).read_text()
    assert "1 of 17 images and frames quarantined" in page
    assert page.count("data:image") >= 4
    code, drawn, err = answer(
        capfd,
        *("render", finished, "--out", tmp_path / "drawn", "--image-root", moved),
        *("--num-actors", 1),
    )
    assert code == 0, err
    assert (drawn["images"], drawn["videos"], drawn["frames"], drawn["failed"]) == (4, 1, 12, 0)
