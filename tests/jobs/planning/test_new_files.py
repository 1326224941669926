"""A resumed run says how many files it lacks, if a listing finds that out in time."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs.detect as detect_module
import jobs.planning.new_files as new_files_module
from fcos_core.errors import ConfigError, FcosError, StorageError
from jobs.inputs.sources import iterate_names
from jobs.planning.new_files import NewFiles
from jobs.rundir.manifest.manifest import Manifest
from jobs.storage import storage_for
from jobs.storage.s3.client import disconnect
from tests.jobs.dispatch.here import dispatch_here
from tests.jobs.growing import add, annotate, config_of, detected, write_first
from tests.jobs.inputs.tar_bytes import END, file
from tests.jobs.worker.runs import begin_run

MANY = [f"{i}.png" for i in range(20, 30)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_first(tmp_path / "images", 4)


@pytest.fixture
def manifest(tmp_path: Path, folder: Path) -> Manifest:
    """Of a run of the images that are there now."""
    return begin_run(tmp_path / "run", folder, shard_size=2)[0].manifest()


def found(manifest: Manifest, *inputs: object) -> str | None:
    return NewFiles(manifest, tuple(map(str, inputs))).describe()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], None),
        (["00.png", "02.png"], None),
        (["20.png"], "1 new file is not in this run; --extend adds it"),
        (MANY, "10 new files are not in this run; --extend adds them"),
    ],
)
def test_files_that_the_run_does_not_have_are_counted(
    manifest: Manifest, folder: Path, names: list[str], expected: str | None
) -> None:
    add(folder, names)
    (folder / "notes.txt").write_text("no image")
    assert found(manifest, folder) == expected


def test_a_file_in_two_inputs_counts_once(manifest: Manifest, folder: Path) -> None:
    add(folder, ["20.png", "21.png"])
    assert found(manifest, folder, folder / "2*.png", folder) == (
        "2 new files are not in this run; --extend adds them"
    )


def test_removed_and_changed_files_are_not_new(manifest: Manifest, folder: Path) -> None:
    (folder / "00.png").unlink()
    (folder / "01.png").write_bytes(b"other")
    assert found(manifest, folder) is None


def test_what_would_have_to_be_opened_is_not_looked_at(
    manifest: Manifest, folder: Path, tmp_path: Path
) -> None:
    add(folder, ["20.png"])
    (tmp_path / "list.txt").write_text(f"{folder / '20.png'}\n")
    member = file("20.png", (folder / "20.png").read_bytes())
    (tmp_path / "images.tar").write_bytes(member + END)
    annotate(tmp_path / "coco.json", ["20.png"])
    for name in ("list.txt", "images.tar", "coco.json", "images/20.png"):
        assert found(manifest, tmp_path / name) is None


def names_until(stop: threading.Event, count: int) -> Iterator[str]:
    """Some new names, and then none until the test ends."""
    yield from (f"/new/{i}.png" for i in range(count))
    stop.wait(60)
    yield "/late.png"


def test_after_its_time_it_says_what_it_has_counted(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    monkeypatch.setattr(new_files_module, "LIST_S", 0.3)
    monkeypatch.setattr(new_files_module, "iterate_names", lambda _: names_until(stop, 3))
    began = time.monotonic()
    new = NewFiles(manifest, ("/new",))
    said = new.describe()
    assert 0.2 < time.monotonic() - began < 5
    assert said == "at least 3 new files are not in this run; --extend adds them"
    stop.set()
    new._thread.join()
    assert new.describe() == said  # what comes late is not counted


def test_a_listing_that_never_answers_delays_nothing_for_longer(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    monkeypatch.setattr(new_files_module, "LIST_S", 0.2)
    monkeypatch.setattr(new_files_module, "iterate_names", lambda _: names_until(stop, 0))
    new = NewFiles(manifest, ("/new",))
    time.sleep(0.3)  # as long as workers compute
    began = time.monotonic()
    assert new.describe() is None
    assert time.monotonic() - began < 0.1
    stop.set()
    new._thread.join()


def test_a_manifest_that_takes_too_long_ends_it(
    manifest: Manifest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(folder, MANY)
    monkeypatch.setattr(new_files_module, "LIST_S", -1)
    assert found(manifest, folder) is None


@pytest.mark.parametrize("error", [StorageError("503"), ConfigError("it is gone")])
def test_an_error_of_the_listing_is_nobodys_business(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, error: FcosError
) -> None:
    def broken(_: object) -> Iterator[str]:
        yield "/new/1.png"
        raise error

    monkeypatch.setattr(new_files_module, "iterate_names", broken)
    assert found(manifest, "/new") == "at least 1 new file is not in this run; --extend adds it"


def test_a_folder_that_is_gone_is_nobodys_business(manifest: Manifest, tmp_path: Path) -> None:
    assert found(manifest, tmp_path / "gone") is None


def test_a_resumed_run_without_its_inputs_is_a_success(
    folder: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)
    config = config_of(folder, tiny_weights, tmp_path / "run")
    first = detected(config)
    folder.rename(tmp_path / "moved")
    assert detected(config).proof == first.proof


@pytest.mark.parametrize("option", ["limit", "shards", "extend"])
def test_some_commands_do_not_look(
    folder: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)
    config = config_of(folder, tiny_weights, tmp_path / "run")
    if option == "limit":
        config = config.model_copy(update={"limit": 4})
    detected(config)

    def refuse(*_: object) -> None:
        pytest.fail("new files were looked for")

    monkeypatch.setattr(detect_module, "NewFiles", refuse)
    changes = {"limit": {}, "shards": {"shards": "0"}, "extend": {"extend": True}}
    assert detected(config, **changes[option]).failure is None


def test_s3_that_refuses_a_listing_changes_no_result(
    s3: str,
    folder: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)
    for path in folder.iterdir():
        storage_for(s3).write(f"{s3}/images/{path.name}", path.read_bytes())
    config = config_of(f"{s3}/images", tiny_weights, tmp_path / "run")
    first = detected(config)
    storage_for(s3).write(f"{s3}/images/20.png", (folder / "00.png").read_bytes())
    caplog.clear()
    assert detected(config).proof == first.proof
    assert caplog.messages == ["1 new file is not in this run; --extend adds it"]
    caplog.clear()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    disconnect()
    with pytest.raises(FcosError, match="no AWS credentials"):
        list(iterate_names(config.inputs))
    assert detected(config).proof == first.proof
    assert caplog.messages == []


def test_the_run_is_not_waited_for_when_it_fails(
    folder: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of new files where workers could not be started."""
    config = config_of(folder, tiny_weights, tmp_path / "run", shard_size=2)
    with monkeypatch.context() as patch:
        patch.setattr(detect_module, "dispatch", dispatch_here)
        detected(config, shards="0")
    stop = threading.Event()
    monkeypatch.setattr(new_files_module, "iterate_names", lambda _: names_until(stop, 0))

    def fail(*_: object, **__: object) -> None:
        raise ConfigError("no worker")

    monkeypatch.setattr(detect_module, "dispatch", fail)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="no worker"):
        detected(config)
    assert time.monotonic() - began < 8
    stop.set()
