"""A run that grows while its drivers die, or two of them do the same: the digest stays.

The drivers are processes without Ray; those of ``test_growing_runs_on_ray`` are real ones.
"""

import contextlib
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import jobs.detect as detect_module
from jobs.detect import DetectConfig
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.storage import storage_for
from tests.commands import Answer, fcos, run_python, started_python
from tests.jobs.dispatch.here import dispatch_here
from tests.jobs.growing import (
    CHANGED,
    REMOVED,
    changed,
    command_of,
    config_of,
    detected,
    files_of,
    grow,
    write_first,
    write_image,
)

pytestmark = pytest.mark.command

DRIVER = ("-m", "tests.jobs.dispatch.driver_here")
MOMENTS = [
    "before:part-000001",
    "before:superseded-000001",
    "before:index-000001",
    "after:index-000001",
    "shard:1",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """``begun``, a run of images that have grown since, and ``calm``, its undisturbed extension."""
    place = tmp_path_factory.mktemp("growing")
    config = config_of(write_first(place / "images"), tiny_weights, place / "begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect_module, "dispatch", dispatch_here)
        detected(config)
        shutil.copytree(place / "begun", place / "calm")
        grow(place / "images")
        detected(config, out=str(place / "calm"), extend=True)
    return place


@pytest.fixture
def config(place: Path, tiny_weights: Path, tmp_path: Path) -> DetectConfig:
    """The command of a copy of the run that is to be extended."""
    shutil.copytree(place / "begun", tmp_path / "run")
    return config_of(place / "images", tiny_weights, tmp_path / "run")


def digest_of(run_uri: Path | str) -> str:
    proof = prove(RunDirectory(str(run_uri)))
    assert proof.digest is not None, proof.problems
    return proof.digest


def drive(moment: str, words: Sequence[str], **environment: str) -> Answer:
    return run_python(*DRIVER, moment, *words, environment=environment)


def at_once(
    name: str, folder: Path, commands: Sequence[Sequence[str]], environment: Mapping[str, str]
) -> list[Answer]:
    """Two drivers that both create a file of the manifest, at the same moment."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        drivers = [
            stack.enter_context(
                started_python(*DRIVER, f"meet:{name}:{folder}", *words, environment=environment)
            )
            for words in commands
        ]
        return [driver.finish() for driver in drivers]


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(m, marks=[] if m == "before:index-000001" else pytest.mark.slow)
        for m in MOMENTS
    ],
)
def test_a_driver_killed_at_any_moment_of_an_extension_changes_no_bit(
    place: Path, config: DetectConfig, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = files_of(config.out)
    assert drive(moment, command_of(config, "--extend")).code == -signal.SIGKILL
    between = files_of(config.out)
    assert before.items() <= between.items()
    is_extended = moment.startswith(("after", "shard"))
    manifest = RunDirectory(config.out).manifest()
    assert len(manifest.indexes) == 1 + is_extended
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)
    if not is_extended:  # until then it is the run that it was
        assert detected(config).num_rows == 0
    result = detected(config, extend=not is_extended)  # a plain resume completes an extension
    assert result.proof.digest == digest_of(place / "calm")
    after = files_of(config.out)
    assert before.items() <= after.items()
    names = {path.name for path in Path(config.out, "manifest").iterdir()}
    assert names == RunDirectory(config.out).manifest().names()


def test_two_drivers_that_extend_at_once_add_everything_once(
    place: Path, config: DetectConfig, tmp_path: Path
) -> None:
    before = files_of(config.out)
    words = command_of(config, "--extend")
    answers = at_once("index-000001", tmp_path / "meeting", [words, words], {})
    results = [answer.result() for answer in answers]
    assert {result["digest"] for result in results} == {digest_of(place / "calm")}
    assert sorted(result["inputs_new"] for result in results) == [0, 6]
    assert before.items() <= files_of(config.out).items()
    names = {path.name for path in Path(config.out, "manifest").iterdir()}
    assert names == RunDirectory(config.out).manifest().names()


@pytest.mark.slow
def test_two_ranged_drivers_that_begin_at_once_begin_one_run(
    config: DetectConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = changed(config, out=str(tmp_path / "fresh"))
    commands = [command_of(fresh, "--shards", shards) for shards in ("0-1", "2-9")]
    answers = at_once("index-000000", tmp_path / "meeting", commands, {})
    assert [answer.result()["missing"] for answer in answers] == [0, 0]
    names = {path.name for path in (tmp_path / "fresh" / "manifest").iterdir()}
    assert names == RunDirectory(fresh.out).manifest().names()
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)
    whole = detected(config, out=str(tmp_path / "whole"))
    assert digest_of(fresh.out) == whole.proof.digest


@pytest.mark.slow
@pytest.mark.parametrize("s3_server", ["seaweedfs"], indirect=True, scope="session")
def test_an_extension_on_s3_survives_killed_and_doubled_drivers(
    s3: str, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)
    storage = storage_for(s3)
    folder = write_first(tmp_path / "images")

    def upload() -> None:
        for path in sorted(folder.iterdir()):
            storage.write(f"{s3}/images/{path.name}", path.read_bytes())

    def objects(run_uri: str) -> dict[str, bytes]:
        return {info.uri: storage.read(info.uri) for info in storage.list(run_uri)}

    upload()
    config = config_of(f"{s3}/images", tiny_weights, f"{s3}/run")
    calm = changed(config, out=f"{s3}/calm")
    for one in (config, calm):
        detected(one)
    before = objects(config.out)
    grow(folder)
    upload()  # again, under the same etags
    storage.delete(f"{s3}/images/{REMOVED}")
    grown = detected(calm, extend=True)
    assert grown.growth is not None
    growth = grown.growth
    assert (growth.num_new, growth.num_changed, growth.num_vanished) == (6, 1, 1)
    words = command_of(config, "--extend")
    for moment in ("before:index-000001", "before:part-000001"):
        assert drive(moment, words).code == -signal.SIGKILL
    answers = at_once("index-000001", tmp_path / "meeting", [words, words], {})
    results = [answer.result() for answer in answers]
    assert {result["digest"] for result in results} == {grown.proof.digest}
    assert sorted(result["inputs_new"] for result in results) == [0, 6]
    assert before.items() <= objects(config.out).items()
    assert fcos("verify", config.out, "--inputs").result()["inputs_changed"] == 0
    write_image(folder / CHANGED, seed=1234)
    upload()
    assert fcos("verify", config.out, "--inputs").result(code=3)["inputs_changed"] == 1
    assert drive("shard:1", words).code == -signal.SIGKILL
    again = [detected(one, extend=True).proof.digest for one in (config, calm)]
    assert again[0] == again[1] != grown.proof.digest
