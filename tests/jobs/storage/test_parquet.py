"""No thread of Arrow owns an object of Python, or calls into Python, whatever is read."""

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.storage.local import LocalStorage
from jobs.storage.parquet import open_bytes, open_object, require_described
from jobs.storage.range_file import RangeFile
from tests.jobs.storage.encrypted import encrypted

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


def test_an_encrypted_column_is_told_before_the_process_ends():
    metadata = open_bytes(encrypted(TABLE, ["c", "e"], row_group_size=400)).metadata
    for group in range(metadata.num_row_groups):
        for column, name in enumerate(TABLE.column_names):
            if name in "ce":
                with pytest.raises(OSError, match="Cannot decrypt ColumnMetadata"):
                    require_described(metadata, group, [column])
            else:
                require_described(metadata, group, [column])
                assert metadata.row_group(group).column(column).path_in_schema == name


@pytest.mark.parametrize("layout", [{"row_group_size": 1}, {"write_page_index": True}])
def test_plain_columns_of_every_type_can_be_described(tmp_path: Path, layout: dict[str, object]):
    table = pa.table(
        {
            "name": pa.array(["a", None, "ä" * 40]).dictionary_encode(),
            "image": [{"path": "x", "bytes": b"1"}, None, {"path": None, "bytes": b""}],
            "sizes": [[1, 2], [], None],
            "places": pa.array([[("a", 0.5)], [], None], pa.map_(pa.string(), pa.float64())),
            "is_good": [True, False, None],
        }
    )
    for written in (table, table.slice(0, 0)):
        pq.write_table(written, tmp_path / "a.parquet", **layout)
        metadata = open_bytes((tmp_path / "a.parquet").read_bytes()).metadata
        for group in range(metadata.num_row_groups):
            require_described(metadata, group, range(metadata.num_columns))


def test_no_damaged_byte_of_a_footer_ends_the_process(path: Path):
    pq.write_table(TABLE.slice(0, 9).select(["a"]), path)
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    refused = 0
    for place in range(start, len(data) - 8):
        damaged = bytearray(data)
        damaged[place] ^= 0x19
        try:
            metadata = open_bytes(damaged).metadata
            for group in range(metadata.num_row_groups):
                columns = range(metadata.row_group(group).num_columns)
                require_described(metadata, group, columns)
                for column in columns:
                    assert metadata.row_group(group).column(column).physical_type
        except (pa.ArrowException, OSError, ValueError):
            refused += 1
    assert refused
