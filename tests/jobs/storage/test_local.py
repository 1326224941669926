"""Local disk: listing, reading, and creation that never changes an existing file."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fcos_core.errors import ConfigError, StorageError
from jobs.storage import TEMPORARY_PREFIX, MissingError, UnreadableError
from jobs.storage.local import LocalStorage
from jobs.storage.local_uri import local_uri

AWKWARD = [
    "a b",
    "a#b",
    "100%",
    "%41",
    "schön",
    "写真",
    "two\nlines",
    "-rf",
    "'quoted\"",
    "back\\slash",
]

storage = LocalStorage()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names_round_trip(tmp_path: Path, name: str):
    uri = f"{tmp_path}/{name}/{name}.bin"
    assert storage.stat(uri) is None
    assert storage.create(uri, b"content")
    assert storage.read(uri) == b"content"
    assert storage.read_range(uri, 3, 2) == b"te"
    (listed,) = storage.list(str(tmp_path))
    assert listed == storage.stat(uri)
    assert (listed.uri, listed.size_bytes) == (uri, 7)
    storage.delete(uri)
    storage.delete(uri)
    assert storage.stat(uri) is None


def test_create_never_changes_what_is_there(tmp_path: Path):
    uri = str(tmp_path / "shard")
    assert storage.create(uri, b"first")
    assert not storage.create(uri, b"second")
    assert storage.read(uri) == b"first"
    assert names_in(tmp_path) == ["shard"]


def test_write_replaces(tmp_path: Path):
    uri = str(tmp_path / "deep" / "er" / "metrics.json")
    storage.write(uri, b"one, and longer")
    storage.write(uri, b"two")
    assert storage.read(uri) == b"two"
    assert names_in(tmp_path / "deep" / "er") == ["metrics.json"]


def test_a_range_past_the_end_is_shortened(tmp_path: Path):
    uri = str(tmp_path / "x")
    storage.write(uri, b"0123")
    assert storage.read_range(uri, 2, 100) == b"23"
    assert storage.read_range(uri, 9, 1) == b""


def test_listing_is_ordered_by_the_bytes_of_the_uri(tmp_path: Path):
    for name in ["b/1", "b.jpg", "b-/1", "B", "a/z/y", "a", "ä", "a!", "🙂", "\uffee"]:
        path = tmp_path / f"{name}.d" / "f" if name == "a" else tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    uris = [info.uri for info in storage.list(str(tmp_path))]
    assert len(uris) == 10
    assert uris == sorted(uris, key=os.fsencode)


def test_a_listing_holds_only_its_own_folder(tmp_path: Path):
    for name in ["run/x", "run2/x", "run.txt"]:
        storage.write(f"{tmp_path}/{name}", b"")
    assert [info.uri for info in storage.list(f"{tmp_path}/run")] == [f"{tmp_path}/run/x"]
    assert [info.uri for info in storage.list(f"{tmp_path}/run/")] == [f"{tmp_path}/run/x"]
    assert [info.uri for info in storage.list(f"{tmp_path}/run.txt")] == [f"{tmp_path}/run.txt"]
    assert list(storage.list(f"{tmp_path}/ru")) == []


def test_links_are_followed_but_not_in_circles(tmp_path: Path):
    photos = tmp_path / "photos"
    storage.write(str(photos / "x.jpg"), b"abc")
    (photos / "again").symlink_to(tmp_path / "elsewhere")
    storage.write(str(tmp_path / "elsewhere" / "y.jpg"), b"")
    (photos / "again" / "up").symlink_to(photos)
    (photos / "link.jpg").symlink_to(photos / "x.jpg")
    (photos / "nowhere.jpg").symlink_to(photos / "gone.jpg")
    (photos / "itself.jpg").symlink_to("itself.jpg")
    os.mkfifo(photos / "pipe.jpg")
    found = {
        info.uri.removeprefix(f"{photos}/"): info.size_bytes for info in storage.list(str(photos))
    }
    assert found == {"again/y.jpg": 0, "itself.jpg": 0, "link.jpg": 3, "nowhere.jpg": 0, "x.jpg": 3}


@pytest.mark.parametrize("name", ["absent", "folder", "pipe", "bad\0name", "\ud800"])
def test_an_unreadable_path_gives_one_line_without_a_retry(tmp_path: Path, name: str):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError) as caught:
        storage.read(f"{tmp_path}/{name}")
    assert repr(local_uri(f"{tmp_path}/{name}")) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("x" * 256, id="a name over 255 bytes"),
        pytest.param("x/" * 2500 + "x", id="a path over 4096 bytes"),
        pytest.param("bad\0name", id="a NUL"),
        pytest.param("\ud800", id="no text"),
        pytest.param("file/x", id="below a file"),
        pytest.param("circle", id="a link to itself"),
        pytest.param("long", id="a link to a name over 255 bytes"),
        *("folder", "socket", "pipe"),
    ],
)
def test_what_no_file_is_or_can_be_is_missing(tmp_path: Path, name: str):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "long").symlink_to("x" * 256)
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK)
    uri = f"{tmp_path}/{name}"
    assert storage.stat(uri) is None
    assert storage.is_folder(uri) == (name == "folder")
    for read in (storage.read, lambda uri: storage.read_range(uri, 0, 1)):
        with pytest.raises(MissingError):
            read(uri)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_forbidden_file_is_unreadable_and_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    monkeypatch.setattr(os, "open", failing(code))
    with pytest.raises(UnreadableError) as caught:
        storage.read(f"{tmp_path}/x")
    assert not isinstance(caught.value, MissingError)


@pytest.mark.parametrize(
    "code", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT, errno.ENXIO, errno.ENODEV]
)
def test_a_failing_disk_says_nothing_about_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    (tmp_path / "x").write_bytes(b"")
    monkeypatch.setattr(os, "open", failing(code))
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(StorageError) as caught:
        storage.read(f"{tmp_path}/x")
    assert not isinstance(caught.value, UnreadableError)


def failing(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_listing_loses_no_link_and_no_path_that_is_too_long(tmp_path: Path):
    (tmp_path / "long.jpg").symlink_to("x" * 256)
    (listed,) = storage.list(str(tmp_path))
    assert (listed.uri, listed.size_bytes) == (f"{tmp_path}/long.jpg", 0)
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        folder, above = os.open("d" * 250, os.O_RDONLY, dir_fd=folder), folder
        os.close(above)
    os.close(folder)
    with pytest.raises(StorageError, match="File name too long"):
        list(storage.list(str(tmp_path)))


@pytest.mark.parametrize("operation", [storage.create, storage.write])
def test_a_place_inside_a_file_is_a_config_error(
    tmp_path: Path, operation: Callable[[str, bytes], object]
):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="Not a directory") as caught:
        operation(f"{tmp_path}/file/run/manifest.parquet", b"")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_name_that_is_too_long_is_a_config_error(tmp_path: Path):
    with pytest.raises(ConfigError, match="too long"):
        storage.create(f"{tmp_path}/{'x' * 300}", b"")


def test_a_full_disk_is_retried_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        storage.create(f"{tmp_path}/shard", b"x")
    assert names_in(tmp_path) == []


def no_links(path: Path, target: Path) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(target), None, str(path))


def not_yet(path: Path) -> bool:
    del path
    return False


def an_old_c_library(name: None, *, use_errno: bool) -> object:
    del name, use_errno
    return object()


def test_without_hard_links_an_exclusive_rename_creates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    assert storage.create(f"{tmp_path}/schön", b"first")
    monkeypatch.setattr(os.path, "lexists", not_yet)  # the other process creates it after our check
    assert not storage.create(f"{tmp_path}/schön", b"second")
    assert storage.read(f"{tmp_path}/schön") == b"first"
    assert names_in(tmp_path) == ["schön"]


def test_a_file_system_without_atomic_creation_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    monkeypatch.setattr("ctypes.CDLL", an_old_c_library)
    with pytest.raises(ConfigError, match="neither hard links nor rename"):
        storage.create(f"{tmp_path}/shard", b"first")
    assert names_in(tmp_path) == []


def test_a_link_whose_reply_was_lost_is_still_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def link_then_repeat(path: Path, target: Path) -> None:
        os.link(target, path)
        os.link(target, path)  # NFS repeats a request whose reply was lost

    monkeypatch.setattr(Path, "hardlink_to", link_then_repeat)
    assert storage.create(f"{tmp_path}/shard", b"ours")
    assert not storage.create(f"{tmp_path}/shard", b"later")


def test_temporary_files_are_hidden_ones():
    assert TEMPORARY_PREFIX.startswith(".")
