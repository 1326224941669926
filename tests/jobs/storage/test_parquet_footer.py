"""Encrypted columns are found by the footer alone, and no footer makes the search run long."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.storage import storage_for
from jobs.storage.parquet_footer import (
    UnknownFooterError,
    encrypted_columns,
    footer_of,
    read_footer,
)
from tests.jobs.storage.encrypted import encrypted

TABLE = pa.table(
    {
        "name": pa.array(["a", None, "ä" * 40]).dictionary_encode(),
        "image": [{"path": "x", "bytes": b"1"}, None, {"path": None, "bytes": b""}],
        "sizes": [[1, 2], [], None],
        "places": pa.array([[("a", 0.5)], [], None], pa.map_(pa.string(), pa.float64())),
        "is_good": [True, False, None],
        "time": [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)],
    }
).replace_schema_metadata({"many": "words " * 100})


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(["name"], {0}), (["image.bytes"], {2}), (["image.path", "is_good"], {1, 6}), (["time"], {7})],
)
def test_encrypted_columns_are_found(columns: list[str], expected: set[int]):
    assert encrypted_columns(footer_of(encrypted(TABLE, columns))) == expected


@pytest.mark.parametrize("version", ["1.0", "2.6"])
def test_a_plain_file_has_none(tmp_path: Path, version: str):
    path = tmp_path / "a.parquet"
    pq.write_table(
        TABLE,
        path,
        version=version,
        row_group_size=1,
        write_page_index=True,
        sorting_columns=[pq.SortingColumn(0)],
        store_decimal_as_integer=True,
    )
    info = storage_for(str(path)).stat(str(path))
    assert info is not None
    footer = read_footer(info)
    assert footer == footer_of(path.read_bytes())
    assert len(footer) == pq.read_metadata(path).serialized_size
    assert encrypted_columns(footer) == set()


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(b"\x8c\x00\x00", id="its number is a step"),
        pytest.param(b"\x0c\x10\x00\x00", id="its number is written out"),
        pytest.param(b"\x05\x01\x00\x9c\x00\x00", id="its number passes the last one"),
        pytest.param(b"\x11\x2b\x01\x85\x01a\x09\x5c\x00\x00", id="behind other fields"),
    ],
)
def test_a_forged_file_need_not_say_how_it_is_encrypted(column: bytes):
    group = b"\x19\x1c" + column + b"\x00"
    footer = b"\x49\x1c" + group + b"\x00"
    assert encrypted_columns(footer) == {0}
    lies_about_its_elements = b"\x49\x15" + group + b"\x00"
    assert encrypted_columns(lies_about_its_elements) == {0}


def test_a_footer_that_is_cut_off_is_told():
    footer = footer_of(encrypted(TABLE, ["name"], row_group_size=3))[:-28]  # without a signature
    assert encrypted_columns(footer) == {0}
    for end in range(len(footer)):
        with pytest.raises(UnknownFooterError, match="its footer is cut off"):
            encrypted_columns(footer[:end])


@pytest.mark.parametrize(
    ("footer", "message"),
    [
        (b"\x1c" * 1000, "nested too deep"),
        (b"\x19" * 1000, "nested too deep"),
        (b"\x15" + b"\x80" * 1000, "a number of more than 64 bits"),
        (b"\x1e", "a value of kind 14"),
        (b"\x18\xff\xff\xff\xff\x7f", "cut off"),
        (b"\x19\xf7\xff\xff\xff\xff\x7f", "cut off"),
    ],
)
def test_a_footer_that_says_impossible_things_ends_at_once(footer: bytes, message: str):
    with pytest.raises(UnknownFooterError, match=message):
        encrypted_columns(footer)
