"""Which columns of a Parquet file are encrypted, by its footer.

pyarrow ends the process (SIGABRT) when it is asked for the description of an encrypted column of a
file whose footer is not encrypted, so this is found out before. The footer is a struct in Thrift's
compact protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jobs.storage import storage_for

if TYPE_CHECKING:
    from jobs.storage.base import ObjectInfo

_TAIL = struct.Struct("<I4s")  # length of the footer, then the magic

# Numbers of parquet.thrift.
_ROW_GROUPS, _COLUMNS, _CRYPTO_METADATA = 4, 1, 8

# Kinds of the compact protocol.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = (
    *(1, 2, 3, 7, 8, 9, 10, 11, 12, 13),
)
_VARINTS = {4, 5, 6}
_NUM_BYTES = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8, _UUID: 16}
_LONG = 15  # the length of a list follows
_FIELD_MASK = 0xFFFF  # numbers of fields are kept in 16 bits
_MAX_DEPTH = 64
_VARINT_BITS = 70


class UnknownFooterError(ValueError):
    """The footer is damaged."""


def footer_of(data: bytes) -> bytes:
    """Take the footer of a whole file, which has at least its tail of eight bytes."""
    length, _ = _TAIL.unpack(data[-_TAIL.size :])
    return data[max(len(data) - _TAIL.size - length, 0) : -_TAIL.size]


def read_footer(info: ObjectInfo) -> bytes:
    """Read the footer of a file that is one, or less where the file is shorter than it says.

    Raises:
        StorageError: the object cannot be read, or is another version.
    """
    storage, end = storage_for(info.uri), info.size_bytes - _TAIL.size
    length, _ = _TAIL.unpack(storage.read_range(info.uri, end, _TAIL.size, info.version))
    length = min(length, end)
    return storage.read_range(info.uri, end - length, length, info.version)


def encrypted_columns(footer: bytes) -> set[int]:
    """Give the numbers of the columns that are encrypted in any row group.

    Columns are counted as the file stores them: each field of a struct is one.

    Raises:
        UnknownFooterError: see there.
    """
    found: set[int] = set()
    reader = _Reader(footer)
    try:
        for field, kind in reader.fields():
            if field == _ROW_GROUPS and kind == _LIST:
                reader.each(lambda _: _read_row_group(reader, found))
            else:
                reader.skip(kind)
    except IndexError as error:
        raise UnknownFooterError("its footer is cut off") from error
    return found


def _read_row_group(reader: _Reader, found: set[int]) -> None:
    for field, kind in reader.fields():
        if field == _COLUMNS and kind == _LIST:
            reader.each(lambda number: _read_column(reader, number, found))
        else:
            reader.skip(kind)


def _read_column(reader: _Reader, number: int, found: set[int]) -> None:
    for field, kind in reader.fields():
        if field == _CRYPTO_METADATA:
            found.add(number)
        reader.skip(kind)


class _Reader:
    """Goes over values; an ``IndexError`` says that the data ends before."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Go over the fields of a struct; who asks must read or skip the value of each.

        Yields:
            Its number and its kind.
        """
        field = 0
        while kind := (head := self._byte()) & 0x0F:
            delta = head >> 4
            field = (field + delta if delta else _zigzag(self._varint())) & _FIELD_MASK
            yield field, kind

    def each(self, read: Callable[[int], None]) -> None:
        """Read a list of structs, each by its number in the list; as Thrift, whatever it says."""
        num, _ = self._list_head()
        for number in range(num):
            read(number)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over the value of a field."""
        if kind not in {_TRUE, _FALSE}:  # a field's kind is its value
            self._skip_element(kind, depth)

    def _skip_element(self, kind: int, depth: int) -> None:
        if kind in _VARINTS:
            self._varint()
        elif kind in _NUM_BYTES:
            self._move(_NUM_BYTES[kind])
        elif kind == _BINARY:
            self._move(self._varint())
        elif depth == _MAX_DEPTH:
            raise UnknownFooterError("its footer is nested too deep")
        elif kind == _STRUCT:
            for _, own in self.fields():
                self.skip(own, depth + 1)
        elif kind in {_LIST, _SET}:
            num, own = self._list_head()
            for _ in range(num):
                self._skip_element(own, depth + 1)
        elif kind == _MAP:
            self._skip_map(depth)
        else:
            raise UnknownFooterError(f"its footer has a value of kind {kind}")

    def _skip_map(self, depth: int) -> None:
        num = self._varint()
        kinds = self._byte() if num else 0
        for _ in range(num):
            self._skip_element(kinds >> 4, depth + 1)
            self._skip_element(kinds & 0x0F, depth + 1)

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        num = head >> 4
        return (self._varint() if num == _LONG else num), head & 0x0F

    def _byte(self) -> int:
        value = self._data[self._place]
        self._place += 1
        return value

    def _move(self, num_bytes: int) -> None:
        self._place += num_bytes
        if self._place > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = 0
        for shift in range(0, _VARINT_BITS, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte == byte & 0x7F:  # the highest bit says that more follow
                return value
        raise UnknownFooterError("its footer has a number of more than 64 bits")


def _zigzag(number: int) -> int:
    return number >> 1 ^ -(number & 1)
