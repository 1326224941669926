"""No thread of Arrow owns an object of Python, or calls into Python, whatever is read."""

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.storage.local import LocalStorage
from jobs.storage.parquet import open_bytes, open_object
from jobs.storage.range_file import RangeFile

TABLE = pa.table({name: list(range(1000)) for name in "abcdefgh"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of ten row groups and eight columns."""
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=100)
    return tmp_path / "a.parquet"


def test_arrow_owns_what_it_reads_from_memory(path: Path):
    data = bytearray(path.read_bytes())
    file = open_bytes(data)
    data.clear()  # a BufferError where something else still holds the bytes
    assert file.read().equals(TABLE)


def test_an_empty_file_is_no_parquet_file():
    with pytest.raises(pa.ArrowInvalid, match="0 bytes"):
        open_bytes(b"")


def test_an_object_is_read_in_the_thread_that_asks(path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []
    original = RangeFile.readinto

    def readinto(self: RangeFile, buffer: memoryview) -> int:
        calls.append(threading.get_ident())
        return original(self, buffer)

    monkeypatch.setattr(RangeFile, "readinto", readinto)
    info = LocalStorage().stat(str(path))
    assert info
    file = open_object(info)
    groups = [file.read_row_group(i, columns=["a"], use_threads=False) for i in range(10)]
    assert pa.concat_tables(groups).equals(TABLE.select(["a"]))
    batches = list(file.iter_batches(columns=["b"], use_threads=False))
    assert pa.Table.from_batches(batches).equals(TABLE.select(["b"]))
    assert len(calls) > len(groups)
    assert set(calls) == {threading.get_ident()}
