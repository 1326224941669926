"""A run whose manifest has several parts: every command reads it, and refuses one with other parts.

What cannot be used is named in one line, and nothing is written.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import jobs.detect as detect_module
from jobs.detect import DetectConfig
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from tests.jobs.dispatch.here import dispatch_here
from tests.jobs.growing import (
    ADDED,
    NUM_FIRST,
    annotate,
    begin_in_parts,
    changed,
    command_of,
    config_of,
    detected,
    files_of,
    grow,
    said,
    write_first,
)

NUM_IMAGES = 20
SHARDS_OF_PARTS = [[0, 1, 2], [3, 4, 5], [6]]  # a part ends with the shard of its seventh item


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """Two runs of the same images, each of three parts and complete; tests change copies."""
    place = tmp_path_factory.mktemp("parts")
    folder = write_first(place / "images", NUM_IMAGES)
    annotate(place / "truth.json", [path.name for path in folder.iterdir()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect_module, "dispatch", dispatch_here)
        for name in ("run", "other"):
            config = config_of(folder, tiny_weights, place / name, shard_size=3)
            begin_in_parts(config)
            detected(config)
    return place


@pytest.fixture
def copy(place: Path, tmp_path: Path, tiny_weights: Path) -> DetectConfig:
    """The command of a complete run that a test may change."""
    shutil.copytree(place / "run", tmp_path / "run")
    return config_of(place / "images", tiny_weights, tmp_path / "run", shard_size=3)


def part_of(run_uri: Path | str, number: int) -> Path:
    (path,) = (Path(run_uri) / "manifest").glob(f"part-{number:06d}-*.parquet")
    return path


def test_the_rows_are_those_of_a_run_of_one_part(
    place: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    run = RunDirectory(str(place / "run"))
    shards = run.manifest().shards
    assert [shards.numbers[shards.parts == part].tolist() for part in range(3)] == SHARDS_OF_PARTS
    whole = detected(config_of(place / "images", tiny_weights, tmp_path / "whole", shard_size=3))
    assert len(RunDirectory(whole.run).manifest().parts) == 1
    assert prove(run).digest == whole.proof.digest


def test_every_command_reads_all_parts(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], copy: DetectConfig
) -> None:
    for name, words in commands(copy, place, tmp_path).items():
        code, summary, err = said(capsys, *words)
        assert code == 0, f"{name}: {err}"
        count = summary.get("images", summary.get("ok", NUM_IMAGES))
        assert count == NUM_IMAGES, name


def commands(config: DetectConfig, place: Path, tmp_path: Path) -> dict[str, list[object]]:
    """Each command that reads items of the manifest, by name."""
    truth = place / "truth.json"
    return {
        "verify": ["verify", config.out],
        "verify --rows-digest": ["verify", config.out, "--rows-digest"],
        "verify --inputs": ["verify", config.out, "--inputs"],
        "detect": [*command_of(config)],
        "detect --extend": [*command_of(config, "--extend")],
        "detect --retry-quarantined": [*command_of(config, "--retry-quarantined")],
        "evaluate": ["evaluate", config.out, "--annotations", truth],
        "bpr": ["bpr", truth, "--run", config.out],
        "render": ["render", config.out, "--out", tmp_path / "drawn"],
        "report": ["report", config.out],
    }


def remove_a_part(config: DetectConfig, _: Path) -> str:
    part = part_of(config.out, 1)
    part.unlink()
    return part.name


def take_the_part_of_another_run(config: DetectConfig, place: Path) -> str:
    part = part_of(config.out, 1)
    shutil.copy(part_of(place / "other", 1), part)
    return part.name


def exchange_two_parts(config: DetectConfig, _: Path) -> str:
    one, other = part_of(config.out, 0), part_of(config.out, 1)
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    return one.name


def cut_a_part(config: DetectConfig, _: Path) -> str:
    part = part_of(config.out, 2)
    part.write_bytes(part.read_bytes()[:-9])
    return part.name


@pytest.mark.parametrize(
    "tamper", [remove_a_part, take_the_part_of_another_run, exchange_two_parts, cut_a_part]
)
def test_a_part_that_is_not_the_runs_is_named_by_every_command(
    place: Path,
    tmp_path: Path,
    copy: DetectConfig,
    capsys: pytest.CaptureFixture[str],
    tamper: Callable[[DetectConfig, Path], str],
) -> None:
    name = tamper(copy, place)
    before = files_of(copy.out)
    for command, words in commands(copy, place, tmp_path).items():
        code, summary, err = said(capsys, *words)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, summary, len(lines)) == (2, {}, 1), f"{command}: {code} {err}"
        assert name in lines[0], command
    assert files_of(copy.out) == before


def test_without_its_index_a_run_is_none(
    place: Path, tmp_path: Path, copy: DetectConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no command begins another one over its rows."""
    (Path(copy.out) / "manifest" / "index-000000.parquet").unlink()
    before = files_of(copy.out)
    for command, words in commands(copy, place, tmp_path).items():
        code, summary, err = said(capsys, *words)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, summary, len(lines)) == (2, {}, 1), f"{command}: {code} {err}"
        assert files_of(copy.out) == before, command


def test_the_index_of_another_run_is_not_this_runs(
    place: Path, tmp_path: Path, copy: DetectConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(Path(copy.out) / "manifest")
    shutil.copytree(place / "other" / "manifest", Path(copy.out) / "manifest")
    before = files_of(copy.out)
    for command, words in commands(copy, place, tmp_path).items():
        code, _, err = said(capsys, *words)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == (3 if command in {"verify", "verify --rows-digest"} else 2), command
        assert len(lines) == 1, f"{command}: {err}"
    assert files_of(copy.out) == before


def test_a_run_of_parts_is_extended_by_further_parts(
    copy: DetectConfig, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(place / "images", folder)
    config = changed(copy, inputs=(str(folder),), out=str(tmp_path / "growing"))
    for path in folder.glob("1*.png"):
        if path.name in ADDED:
            path.unlink()
    begin_in_parts(config)
    detected(config)
    before = files_of(config.out)
    grow(folder)
    result = detected(config, extend=True)
    assert result.growth is not None
    assert (result.growth.num_new, result.growth.num_changed) == (6, 1)
    manifest = RunDirectory(config.out).manifest()
    assert [int(part) for part in manifest.shards.parts] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert before.items() <= files_of(config.out).items()
    part = part_of(config.out, 2)
    part.unlink()
    code, _, err = said(capsys, "verify", config.out)
    assert (code, part.name in err) == (2, True)


def extended(folder: Path, config: DetectConfig) -> list[Path]:
    """Extend a run; give the files that the extension added to the manifest."""
    before = set(Path(config.out, "manifest").iterdir())
    grow(folder)
    detected(config, extend=True)
    return sorted(set(Path(config.out, "manifest").iterdir()) - before)


def test_the_files_of_an_extension_cannot_be_left_out(
    tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_first(tmp_path / "images", NUM_FIRST)
    config = config_of(folder, tiny_weights, tmp_path / "run")
    detected(config)
    index, part, superseded = extended(folder, config)
    for path in (part, superseded):
        data = path.read_bytes()
        for damaged in (None, data[:-9]):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            for words in (["report", config.out], command_of(config, "--extend")):
                code, summary, err = said(capsys, *words)
                assert (code, summary) == (2, {}), err
                assert path.name in err
            path.write_bytes(data)
    data = index.read_bytes()
    index.unlink()  # the run is then the shorter one, with shards that it does not know
    code, summary, err = said(capsys, "verify", config.out)
    assert (code, summary["digest"]) == (3, None)
    assert "foreign: the manifest has 3 shards, none with number 3" in err
    index.write_bytes(data)
    assert said(capsys, "verify", config.out)[0] == 0
