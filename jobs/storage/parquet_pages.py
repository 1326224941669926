"""How large the columns of a Parquet file become when they are decoded, before they are.

The footer's sizes do not say: a page of some bytes may unpack to gigabytes, and a dictionary may
repeat one long text in each row. So the header of each page is read, which Arrow trusts.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from fcos_core.errors import one_line
from jobs.storage.parquet import require_described

FOOTER_EXPANSION = 256
"""Arrow's objects take at most so many bytes for each byte of a footer: measured, 213 at most."""

_VALUE_BYTES = 16
"""A number of eight bytes, its two levels of two bytes each, and the bits of validity."""

_NUMBERS = {"BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE"}
_TEXT = "BYTE_ARRAY"

# Numbers of parquet.thrift.
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _PLAIN_DICTIONARY, _DELTA_BINARY_PACKED, _RLE_DICTIONARY, _BYTE_STREAM_SPLIT = 0, 2, 5, 8, 9
_OF_DICTIONARY = {_PLAIN_DICTIONARY, _RLE_DICTIONARY}
_OF_NUMBERS = {_PLAIN, _DELTA_BINARY_PACKED, _BYTE_STREAM_SPLIT, *_OF_DICTIONARY}
_OF_TEXTS = {_PLAIN, *_OF_DICTIONARY}

# A page header in Thrift's compact protocol, its fields in the order in which every writer has
# them: type, sizes, the checksum if there is one; then what a data or a dictionary page has.
_I32 = rb"\x15([\x80-\xff]{0,4}[\x00-\x7f])"
_HEADER = re.compile(_I32 * 3 + rb"(?:" + _I32 + rb"([\x1c\x3c])|([\x2c\x4c]))" + _I32 * 2)
_KINDS = {
    b"\x1c": _DATA_PAGE,
    b"\x2c": _DATA_PAGE,
    b"\x3c": _DICTIONARY_PAGE,
    b"\x4c": _DICTIONARY_PAGE,
}
_IS_SORTED = re.compile(rb"[\x11\x12]?")
_LEVELS = re.compile(_I32 * 2 + rb"(\x1c?)")
_STRUCT, _ENDS = b"\x1c", b"\x00\x00"

# The fields of a page's statistics: numbers, texts of known length, and booleans without a value.
_VARINT = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]")
_BOOLEANS, _INTEGERS, _BINARY = {1, 2}, {4, 5, 6}, 8


class UnknownLayoutError(ValueError):
    """The file is laid out in another way than ours are; nothing can be said about its size."""


class _Page(NamedTuple):
    kind: int
    size: int
    num_values: int
    encoding: int


def decoded_bytes(data: bytes, metadata: Any) -> list[int]:  # noqa: ANN401 -- untyped
    """Bound the memory that each row group takes when all its columns are read.

    Args:
        data: the whole file.
        metadata: its footer, a ``pyarrow.parquet.FileMetaData``.

    Raises:
        UnknownLayoutError: a header is damaged, or of a kind that we do not write; or a column
            cannot be described: it is encrypted, or damaged.
    """
    try:
        for i in range(metadata.num_row_groups):
            require_described(metadata, i, range(metadata.row_group(i).num_columns))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnknownLayoutError(one_line(error)) from error
    return [_group_bytes(data, metadata.row_group(i)) for i in range(metadata.num_row_groups)]


def _group_bytes(data: bytes, group: Any) -> int:  # noqa: ANN401
    return sum(
        _chunk_bytes(data, group.column(i), group.num_rows) for i in range(group.num_columns)
    )


def _chunk_bytes(data: bytes, chunk: Any, num_rows: int) -> int:  # noqa: ANN401
    kind = chunk.physical_type
    if kind != _TEXT and kind not in _NUMBERS:
        raise UnknownLayoutError(f"a column of type {kind}")
    start, first = chunk.data_page_offset, chunk.dictionary_page_offset
    if first is not None and 0 < first < start:
        start = first
    total = num_values = dictionary = 0
    for page in _pages(data, start, start + chunk.total_compressed_size, chunk.num_values):
        total += page.size
        if page.kind == _DICTIONARY_PAGE:
            dictionary = page.size
            total += page.num_values * _VALUE_BYTES
            continue
        if page.encoding not in (_OF_TEXTS if kind == _TEXT else _OF_NUMBERS):
            raise UnknownLayoutError(f"a page of encoding {page.encoding}")
        num_values += page.num_values
        total += page.num_values * _VALUE_BYTES
        if kind == _TEXT and page.encoding in _OF_DICTIONARY:
            total += page.num_values * dictionary
    if not 0 <= num_rows <= num_values == chunk.num_values:
        raise UnknownLayoutError(f"{num_rows} rows, {num_values} values")
    return total


def _pages(data: bytes, start: int, end: int, num_values: int) -> Iterator[_Page]:
    """Read the headers of a column's pages, up to so many values, as Arrow does.

    Yields:
        What the header says of each page.

    Raises:
        UnknownLayoutError: a header is damaged, or of a kind that we do not write.
    """
    if not 0 < start <= end <= len(data):
        raise UnknownLayoutError(f"a column from byte {start} to {end}")
    seen = 0
    while seen < num_values:
        header = _HEADER.match(data, start, end)
        if header is None:
            raise UnknownLayoutError(f"no page header at byte {start}")
        kind, size, packed, count, encoding = (_zigzag(header[i]) for i in (1, 2, 3, 7, 8))
        if kind != _KINDS[header[5] or header[6]] or min(size, packed, count) < 0:
            raise UnknownLayoutError(f"a page of type {kind} at byte {start}")
        start = _header_end(data, header.end(), end, kind) + packed
        seen += count if kind == _DATA_PAGE else 0
        yield _Page(kind, size, count, encoding)


def _header_end(data: bytes, place: int, end: int, kind: int) -> int:
    """Find the end of a page header, from behind the encoding of the page's values.

    Nothing else may stand there: a field that came twice would count twice, and Arrow takes the
    second.

    Raises:
        UnknownLayoutError: something else stands there.
    """
    found = (_LEVELS if kind == _DATA_PAGE else _IS_SORTED).match(data, place, end)
    if found is not None:
        place = found.end()
        if kind == _DATA_PAGE and found[3] == _STRUCT:
            place = _statistics_end(data, place, end)
    if found is None or data[place : place + len(_ENDS)] != _ENDS:
        raise UnknownLayoutError(f"a page header with unknown fields at byte {place}")
    return place + len(_ENDS)


def _statistics_end(data: bytes, place: int, end: int) -> int:
    while place < end and data[place]:
        kind = data[place] & 0x0F
        place += 1
        if kind in _BOOLEANS:
            continue
        value = _VARINT.match(data, place, end)
        if value is None or (kind not in _INTEGERS and kind != _BINARY):
            raise UnknownLayoutError(f"statistics of a page with a field of type {kind}")
        place = value.end() + (_varint(value[0]) if kind == _BINARY else 0)
    return place + 1


def _varint(text: bytes) -> int:
    return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(text))


def _zigzag(text: bytes) -> int:
    number = _varint(text)
    return number >> 1 ^ -(number & 1)
