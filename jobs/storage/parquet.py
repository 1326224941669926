"""Opens Parquet files so that no thread of Arrow ever owns an object of Python.

Arrow decodes columns in threads of its own, and whichever thread is last frees what was read. To
free an object of Python it waits for the GIL; when Python ends meanwhile, CPython ends the thread
inside a C++ destructor, and the process, which has done its work, dies of SIGABRT.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

import pyarrow as pa
from pyarrow.parquet import ParquetFile

from jobs.storage.base import ObjectInfo
from jobs.storage.range_file import RangeFile


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
