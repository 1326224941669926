"""Opens Parquet files so that no thread of Arrow ever owns an object of Python.

Arrow decodes columns in threads of its own, and whichever thread is last frees what was read. To
free an object of Python it waits for the GIL; when Python ends meanwhile, CPython ends the thread
inside a C++ destructor, and the process, which has done its work, dies of SIGABRT.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, NoReturn

import pyarrow as pa
from pyarrow.parquet import ParquetFile

from jobs.storage.base import ObjectInfo
from jobs.storage.range_file import RangeFile

_ROOM = 2**62  # bytes


def open_bytes(data: bytes) -> ParquetFile:
    """Open a file in memory; its threads read a copy that Arrow owns.

    Raises:
        ArrowException: pyarrow's; also OSError: it is no Parquet file.
    """
    owned = pa.allocate_buffer(len(data))
    memoryview(owned).cast("B")[:] = data
    return ParquetFile(pa.BufferReader(owned), pre_buffer=False, page_checksum_verification=True)


def open_object(info: ObjectInfo) -> ParquetFile:
    """Open one version of an object, of which only the parts that are asked for are read.

    The storage is Python, so nothing is read ahead, and each read must say ``use_threads=False``:
    all of it then happens in the thread that asks.

    Raises:
        ArrowException: pyarrow's; also OSError: it is no Parquet file.
    """
    file = pa.PythonFile(RangeFile(info), mode="r")
    return ParquetFile(file, pre_buffer=False, page_checksum_verification=True)


def require_described(metadata: Any, group: int, columns: Iterable[int]) -> None:  # noqa: ANN401
    """Require that some columns of a row group can be described; needs nothing but the footer.

    ``metadata.row_group(group).column(i)`` ends the process (SIGABRT) where Arrow cannot describe
    the column: it is encrypted, or its entry in the footer is damaged. A reader asks Arrow for the
    same, and has an exception instead, before it asks for any data.

    Args:
        metadata: a ``pyarrow.parquet.FileMetaData``.
        group: of rows, from 0.
        columns: numbers, as the file stores and counts them: each field of a struct is one.

    Raises:
        ArrowException: pyarrow's; also OSError: a column cannot be described.
    """
    file = ParquetFile(pa.PythonFile(_NoData(), mode="r"), metadata=metadata, pre_buffer=False)
    for column in columns:
        try:
            file.reader.read_row_group(group, column_indices=[column], use_threads=False)
        except _DataWantedError:
            continue


class _DataWantedError(Exception):
    """Data is asked for."""


class _NoData(io.RawIOBase):
    """Stands for a file with room for every offset that a footer may name."""

    def __init__(self) -> None:
        super().__init__()
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (_ROOM if whence == io.SEEK_END else 0)
        return self._position

    def read(self, _size: int = -1, /) -> NoReturn:
        raise _DataWantedError
