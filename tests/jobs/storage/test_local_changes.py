"""A file that is rewritten in place while it is read never gives a mixture of two versions."""

import io
import os
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ImageError
from jobs.inputs.item_bytes import read_item_bytes
from jobs.inputs.sources import enumerate_inputs
from jobs.planning.manifest import make_manifest
from jobs.storage import UnreadableError, local
from jobs.storage.chunks import HashedChunks
from jobs.storage.local import LocalStorage

SIZE = 1 << 20  # more than any buffer
OLD, NEW = b"o" * SIZE, b"n" * SIZE
CHANGED = "has changed: it was .*, now it is "

storage = LocalStorage()

READS = [
    pytest.param(storage.read, id="whole"),
    pytest.param(lambda uri: storage.read_range(uri, 7, SIZE), id="range"),
]
Read = Callable[[str], bytes]


def overwrite(path: Path, data: bytes) -> None:
    """Change the bytes of a file, which stays the same file and never has another size."""
    with path.open("r+b") as file:
        file.write(data)


class Interruption:
    """Makes an action run in the middle of the next reads of any file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
        self.left = 0
        self.action = action
        really_open = local._open
        monkeypatch.setattr(local, "_open", lambda uri: _Interrupted(really_open(uri), self))


class _Interrupted(io.BufferedReader):
    def __init__(self, file: io.BufferedReader, interruption: Interruption) -> None:
        super().__init__(file.detach())
        self._interruption = interruption

    def read(self, size: int | None = -1, /) -> bytes:
        half = SIZE // 2
        if self._interruption.left <= 0 or (size is not None and 0 <= size < half):
            return super().read(size)
        self._interruption.left -= 1
        start = super().read(half)
        self._interruption.action()
        return start + super().read(-1 if size is None or size < 0 else size - half)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(OLD)
    return path


@pytest.mark.parametrize("read", READS)
def test_a_file_rewritten_meanwhile_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, read: Read
):
    interruption = Interruption(monkeypatch, lambda: overwrite(path, NEW))
    interruption.left = 1
    assert set(read(str(path))) == set(b"n")


@pytest.mark.parametrize("read", READS)
def test_a_file_that_never_rests_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, read: Read
):
    interruption = Interruption(monkeypatch, lambda: overwrite(path, NEW))
    interruption.left = 1000
    with pytest.raises(UnreadableError, match=r"a.jpg' was changed while it was read, at each of"):
        read(str(path))


def test_a_time_that_is_set_back_hides_no_change(path: Path, monkeypatch: pytest.MonkeyPatch):
    before = path.stat().st_mtime_ns

    def rewrite() -> None:
        overwrite(path, NEW)
        os.utime(path, ns=(before, before))

    Interruption(monkeypatch, rewrite).left = 1
    assert storage.read(str(path)) == NEW


def move_ctime(path: Path) -> None:
    path.chmod(path.stat().st_mode ^ 0o040)


@pytest.mark.parametrize("read", READS)
def test_a_read_that_moves_ctime_gives_the_bytes_that_come_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch, read: Read
):
    interruption = Interruption(monkeypatch, lambda: move_ctime(path))
    interruption.left = 1000
    assert set(read(str(path))) == set(b"o")
    assert interruption.left >= 997


def test_a_file_whose_ctime_never_settles_is_read(path: Path):
    stopped = threading.Event()

    def disturb() -> None:
        while not stopped.wait(0.001):
            move_ctime(path)

    noise = threading.Thread(target=disturb)
    noise.start()
    try:
        assert [storage.read(str(path)) for _ in range(5)] == [OLD] * 5
    finally:
        stopped.set()
        noise.join()


def test_a_file_at_rest_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch):
    time.sleep(0.02)
    interruption = Interruption(monkeypatch, lambda: None)
    interruption.left = 1000
    storage.read(str(path))
    assert interruption.left == 999


def test_rewrites_that_set_the_time_back_are_noticed_while_ctime_moves(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = path.stat().st_mtime_ns
    contents = iter([b"1"])

    def rewrite() -> None:
        overwrite(path, next(contents, b"n") * SIZE)
        os.utime(path, ns=(before, before))

    Interruption(monkeypatch, rewrite).left = 1000
    assert storage.read(str(path)) == NEW


@pytest.mark.parametrize("tick_ns", [1_000_000, 4_000_000])
def test_two_changes_in_one_tick_of_a_clock_give_no_mixture(
    path: Path, monkeypatch: pytest.MonkeyPatch, tick_ns: int
):
    interruption = Interruption(monkeypatch, lambda: overwrite(path, NEW))
    really_fstat = os.fstat

    def coarse_fstat(descriptor: int) -> SimpleNamespace:
        exact = really_fstat(descriptor)
        return SimpleNamespace(
            st_mode=exact.st_mode,
            st_size=exact.st_size,
            st_mtime_ns=exact.st_mtime_ns // tick_ns * tick_ns,
            st_ctime_ns=exact.st_ctime_ns // tick_ns * tick_ns,
        )

    monkeypatch.setattr(os, "fstat", coarse_fstat)
    for _ in range(10):
        overwrite(path, OLD)
        interruption.left = 1
        assert storage.read(str(path)) == NEW


def test_a_file_replaced_by_another_gives_the_one_that_was_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    new = path.with_name("new")
    new.write_bytes(NEW)
    Interruption(monkeypatch, lambda: new.replace(path)).left = 1
    assert storage.read(str(path)) in {OLD, NEW}
    assert storage.read(str(path)) == NEW


def test_chunks_of_a_file_rewritten_meanwhile_are_refused(path: Path):
    chunks = iter(HashedChunks(str(path), chunk_bytes=SIZE // 2))
    assert next(chunks) == OLD[: SIZE // 2]
    overwrite(path, NEW)
    with pytest.raises(UnreadableError, match=CHANGED):
        next(chunks)


def tar_of(folder: Path, data: bytes) -> bytes:
    path = folder / "made"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return path.read_bytes()


def parquet_of(folder: Path, data: bytes) -> bytes:
    path = folder / "made"
    pq.write_table(
        pa.table({"image": [data]}), path, compression="none", use_dictionary=False,
        write_statistics=False,
    )  # fmt: skip
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "make"),
    [("a.jpg", lambda _, data: data), ("a.tar", tar_of), ("a.parquet", parquet_of)],
)
def test_an_item_rewritten_while_it_is_read_is_another_than_was_listed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: Callable[[Path, bytes], bytes],
):
    path = tmp_path / name
    path.write_bytes(make(tmp_path, OLD))
    new = make(tmp_path, NEW)
    (item,) = make_manifest(enumerate_inputs([str(path)]), 8)
    Interruption(monkeypatch, lambda: overwrite(path, new)).left = 1
    with pytest.raises(ImageError, match=CHANGED):
        read_item_bytes(item)
