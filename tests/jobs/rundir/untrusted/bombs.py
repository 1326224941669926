"""Small Parquet files that take much memory when they are read, each in another way."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_BYTE_ARRAY, _INT64, _PLAIN, _ZSTD = 6, 2, 0, 6
_UNPACKED = 2**30


def repeated_text() -> bytes:
    """64 GB: a text of 64 kB in a dictionary, and in each of a million rows."""
    values = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 65_536])
    )
    return _encoded(pa.table({"x": values}), store_schema=False)


def repeated_beginnings() -> bytes:
    """150 MB: each text begins with all of the text before."""
    return _encoded(
        pa.table({"x": ["x" * 30_000] * 5_000}),
        use_dictionary=False,
        column_encoding={"x": "DELTA_BYTE_ARRAY"},
    )


def many_rows() -> bytes:
    """160 MB: the same number in each of twenty million rows."""
    column = pa.array(np.zeros(2_000_000, np.int64))
    table = pa.table({"x": pa.chunked_array([column] * 10)})
    return _encoded(table, row_group_size=table.num_rows)


def page_that_unpacks() -> bytes:
    """1 GB: one text; the footer says that its page unpacks to a hundred bytes."""
    block = 2**20
    first = (_UNPACKED - 4).to_bytes(4, "little") + bytes(block - 4)
    packed = _zstd(first) + _zstd(bytes(block)) * (_UNPACKED // block - 1)
    values = _i32(1, 1) + _i32(1, _PLAIN) + _i32(1, 3) + _i32(1, 3) + b"\x00"
    page = _i32(1, 0) + _i32(1, _UNPACKED) + _i32(1, len(packed)) + b"\x2c" + values + b"\x00"
    about = _i32(1, _BYTE_ARRAY) + b"\x19\x15\x00" + b"\x19\x18\x01x" + _i32(1, _ZSTD)
    about += _i64(1, 1) + _i64(1, 100) + _i64(1, len(page) + len(packed)) + _i64(2, 4) + b"\x00"
    chunk = _i64(2, 4) + b"\x1c" + about + b"\x00"
    return _file(page + packed, _BYTE_ARRAY, b"\x1c" + chunk, num_rows=1)


def large_footer() -> bytes:
    """190 MB: column chunks of three bytes each, for which Arrow takes 640."""
    num_chunks = 300_000
    return _file(b"", _INT64, b"\xfc" + _varint(num_chunks) + (_i64(2, 0) + b"\x00") * num_chunks)


ALL = (repeated_text, repeated_beginnings, many_rows, page_that_unpacks, large_footer)


def _encoded(table: pa.Table, **layout: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_statistics=False, **layout)
    return sink.getvalue().to_pybytes()


def _zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def _file(pages: bytes, kind: int, chunks: bytes, num_rows: int = 0) -> bytes:
    """Write a file of one column and one row group; ``chunks`` is the list of its chunks."""
    root = b"\x48\x01r" + _i32(1, 1) + b"\x00"
    column = _i32(1, kind) + b"\x25\x00" + b"\x18\x01x" + b"\x00"
    group = b"\x19" + chunks + _i64(1, 100) + _i64(1, num_rows) + b"\x00"
    footer = _i32(1, 1) + b"\x19\x2c" + root + column + _i64(1, num_rows) + b"\x19\x1c" + group
    footer += b"\x00"
    return b"PAR1" + pages + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _i32(step: int, value: int) -> bytes:
    """A field of Thrift's compact protocol, so many numbers behind the field before."""
    return bytes([step << 4 | 5]) + _varint(2 * value)


def _i64(step: int, value: int) -> bytes:
    return bytes([step << 4 | 6]) + _varint(2 * value)


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])
