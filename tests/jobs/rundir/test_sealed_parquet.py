"""A changed bit anywhere in a sealed file is noticed, and other readers do not mind the seal."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rundir.rows import rows_to_table
from jobs.rundir.sealed_parquet import (
    BrokenSealError,
    ColumnEncoding,
    encode_sealed,
    metadata_of,
    open_sealed,
)
from jobs.rundir.shard_writing import encode_shard
from tests.jobs.rundir.strategies import bad_row, images, ok_row

ITEMS = images(12)
ROWS = [ok_row(item) for item in ITEMS[:-1]] + [bad_row(ITEMS[-1])]
SHARD = encode_shard(ROWS, run_id="r", shard=0)


def test_table_and_metadata_survive():
    table = pa.table({"x": [1.5, None], "name": ["a", "ä"]})
    file = open_sealed(encode_sealed(table, {"who": "wé"}, ColumnEncoding(dictionary=["name"])))
    assert file.read().equals(table)
    assert metadata_of(file) == {"who": "wé"}


def test_a_plain_reader_reads_it():
    table = pq.read_table(pa.BufferReader(SHARD), page_checksum_verification=True)
    assert table.equals(rows_to_table(ROWS))


def test_every_flipped_bit_is_noticed():
    for place in range(len(SHARD)):
        damaged = bytearray(SHARD)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(BrokenSealError):
            open_sealed(bytes(damaged))


def test_every_cut_is_noticed():
    for length in range(len(SHARD)):
        with pytest.raises(BrokenSealError):
            open_sealed(SHARD[:length])


@given(st.data())
def test_any_other_change_is_noticed(data: st.DataObject):
    start = data.draw(st.integers(0, len(SHARD)))
    end = data.draw(st.integers(start, min(len(SHARD), start + 64)))
    new = data.draw(st.binary(max_size=64))
    changed = SHARD[:start] + new + SHARD[end:]
    if changed != SHARD:
        with pytest.raises(BrokenSealError):
            open_sealed(changed)


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1PAR1", b"PAR1\x00\x00\x00\x00PAR1", b"{}"])
def test_what_is_no_parquet_file_is_refused(data: bytes):
    with pytest.raises(BrokenSealError):
        open_sealed(data)


def test_a_parquet_file_of_somebody_else_is_refused():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), sink)
    with pytest.raises(BrokenSealError, match="not written by fcos"):
        open_sealed(sink.getvalue().to_pybytes())
