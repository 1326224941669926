"""Files that are small on disk and huge in memory cost one line and little memory."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

import resource
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.rundir.untrusted.parquet_file import (
    MEMORY_LIMIT,
    UnreadableFileError,
    UntrustedFile,
    open_untrusted,
)
from jobs.storage.parquet_pages import UnknownLayoutError, decoded_bytes
from tests.jobs.rundir.untrusted import bombs
from tests.jobs.storage.encrypted import encrypted

MIB = 2**20
MOST_MIB = 300


def encode(table: pa.Table, **layout: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **layout)
    return sink.getvalue().to_pybytes()


@contextmanager
def little_memory() -> Generator[None]:
    """Require that this process takes little more memory than it ever did."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert taken < MOST_MIB * MIB


@pytest.mark.parametrize("bomb", bombs.ALL, ids=lambda bomb: bomb.__name__)
def test_a_bomb_dies_in_a_child_and_is_told_in_one_line(bomb: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(MEMORY_LIMIT, "100")
    data = bomb()
    assert len(data) < MIB
    with (
        little_memory(),
        pytest.raises(UnreadableFileError, match=r"within 100 MiB of memory .*: out of") as caught,
    ):
        open_untrusted(data).read()
    assert "\n" not in str(caught.value)


def test_what_needs_more_memory_than_usual_is_read_in_a_child(monkeypatch: pytest.MonkeyPatch):
    # By the headers alone, each row may hold the whole dictionary of its group.
    table = pa.table({"x": np.arange(40_000), "name": [f"ä{i:030d}" for i in range(40_000)]})
    data = encode(table, row_group_size=1_000)
    file = open_untrusted(data)
    assert (file.num_rows, file.file) == (table.num_rows, None)
    assert file.read().equals(table)
    assert file.read(["name"]).equals(table.select(["name"]))
    assert sum(batch.num_rows for batch in file.iter_batches()) == table.num_rows
    streamed = open_untrusted(data, is_streamed=True)
    assert streamed.file is not None
    monkeypatch.setenv(MEMORY_LIMIT, "1")
    with pytest.raises(UnreadableFileError, match="within 1 MiB"):
        open_untrusted(data)


def test_more_rows_than_there_can_be_are_refused_unread():
    data = encode(pa.table({"x": np.zeros(1000, np.int64)}))
    assert open_untrusted(data, max_rows=1000).read().num_rows == 1000
    with pytest.raises(UnreadableFileError, match="announces 1000 rows, there can be 999 at most"):
        open_untrusted(data, max_rows=999)
    with pytest.raises(UnreadableFileError, match="announces 1000000 rows, there can be 9"):
        open_untrusted(bombs.repeated_text(), max_rows=9)


LAYOUTS: dict[str, dict[str, Any]] = {
    "ours": {"use_dictionary": ["kind"]},
    "many pages": {"use_dictionary": ["kind"], "data_page_size": 1000},
    "no checksums": {"use_dictionary": ["kind"], "write_page_checksum": False},
    "no statistics": {"use_dictionary": ["kind"], "write_statistics": False},
    "no dictionaries": {"use_dictionary": False},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_bound_holds_and_is_near(layout: dict[str, Any]):
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "number": rng.integers(0, 2**60, 50_000),
            "name": [f"/images/{i:06d}.jpg" for i in range(50_000)],
            "list": [list(range(i % 5)) if i % 3 else None for i in range(50_000)],
            "kind": ["image", "video"] * 25_000,
        }
    )
    data = encode(table, **{"write_page_checksum": True, **layout})
    (bound,) = decoded_bytes(data, pq.ParquetFile(pa.BufferReader(data)).metadata)
    assert table.nbytes < bound < 5 * table.nbytes
    assert isinstance(open_untrusted(data), UntrustedFile)
    assert open_untrusted(data).file is not None


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param({"data_page_version": "2.0"}, id="pages of version 2"),
        pytest.param(
            {"use_dictionary": False, "column_encoding": {"name": "DELTA_BYTE_ARRAY"}},
            id="texts that repeat the one before",
        ),
    ],
)
def test_a_layout_that_is_not_ours_is_read_in_a_child(layout: dict[str, Any]):
    table = pa.table({"name": [f"/images/{i:06d}.jpg" for i in range(1000)]})
    data = encode(table, **layout)
    with pytest.raises(UnknownLayoutError):
        decoded_bytes(data, pq.ParquetFile(pa.BufferReader(data)).metadata)
    file = open_untrusted(data)
    assert file.file is None
    assert file.read().equals(table)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1\xff\xff\xff\x00PAR1", b"x" * 1000])
def test_what_is_no_parquet_file_is_refused(data: bytes):
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        open_untrusted(data)


@pytest.mark.parametrize("value", ["", "0", "-1", "many", "1.5"])
def test_a_limit_that_is_no_number_is_a_mistake_of_the_user(
    value: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(MEMORY_LIMIT, value)
    with pytest.raises(Exception, match=MEMORY_LIMIT):
        open_untrusted(bombs.repeated_text())


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_encrypted_column_is_told_in_one_line(*, is_streamed: bool):
    data = encrypted(pa.table({"x": [1, 2, 3], "name": ["a", "b", "c"]}), ["name"])
    with pytest.raises(UnreadableFileError, match="Cannot decrypt ColumnMetadata") as caught:
        open_untrusted(data, is_streamed=is_streamed)
    assert "\n" not in str(caught.value)
