"""Parquet files of unknown origin, read in bounded memory.

What decodes to little memory, by the headers of its pages, is read here. All else is read in a
child process with a memory limit, whose death costs this file only.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import pyarrow as pa

from fcos_core.errors import ConfigError, one_line
from jobs.parallel.child_process import ChildCrashedError, ChildOptions, ChildProcess
from jobs.storage.parquet import ParquetFile, open_bytes
from jobs.storage.parquet_pages import FOOTER_EXPANSION, UnknownLayoutError, decoded_bytes

MEMORY_LIMIT = "FCOS_READ_MEMORY_MIB"
"""The variable of the environment with the memory limit of the child process."""

_DEFAULT_MIB = 1024
_MIB = 2**20
_READ_TIMEOUT_S = 300.0

# What is read in this process decodes to no more than the larger of the two, by a bound that is
# up to three times too high. Only rows without detections exceed the ratio, up to 600-fold, and
# need half a million in a shard to exceed both.
_ALWAYS_BYTES = 128 * _MIB
_LARGEST_RATIO = 64

_POOL = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Malloc, which fails at the limit of the process; Arrow's others reserve a gigabyte at once."""

_NO_MEMORY = "bad_alloc"

_TAIL_BYTES = 8  # length of the footer in four bytes, then the magic
_LENGTH_BYTES = 4


class UnreadableFileError(ValueError):
    """The file is no Parquet file, announces too much, or takes more memory than there may be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UntrustedFile:
    """An opened file, of which only the footer is read yet, unless a child had to read it all.

    Attributes:
        metadata: key-value metadata of the footer.
        schema: names and types of the columns.
        num_rows: as the footer says.
        file: the file, unless a child has read it.
        table: what a child has read.
    """

    metadata: Mapping[bytes, bytes]
    schema: pa.Schema
    num_rows: int
    file: ParquetFile | None
    table: pa.Table | None

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all rows, of all columns or some.

        Raises:
            UnreadableFileError: the pages are damaged.
        """
        names = self.schema.names if columns is None else list(columns)
        if self.table is not None:
            return self.table.select(names)
        assert self.file is not None
        try:
            return self.file.read(columns=names)
        except (pa.ArrowException, OSError) as error:
            _refuse(error)

    def rows_of_groups(self) -> list[int]:
        """Count the rows of each row group; what a child has read is one group."""
        if self.file is None:
            return [self.num_rows]
        metadata = self.file.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def iter_batches(self, groups: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
        """Read the rows, few at a time.

        Args:
            groups: the row groups to read, as ``rows_of_groups`` counts them; None for all.

        Yields:
            The next rows.

        Raises:
            UnreadableFileError: the pages are damaged.
        """
        try:
            if self.table is not None:
                yield from self.table.to_batches()
            elif self.file is not None:
                yield from self.file.iter_batches(
                    row_groups=None if groups is None else list(groups)
                )
        except (pa.ArrowException, OSError) as error:
            _refuse(error)


def open_untrusted(
    data: bytes, *, max_rows: int | None = None, is_streamed: bool = False
) -> UntrustedFile:
    """Open a Parquet file.

    Args:
        data: the whole file.
        max_rows: with more rows the file is refused before any is read.
        is_streamed: whether the rows are read few at a time, and none is kept.

    Raises:
        UnreadableFileError: see there.
        ConfigError: the memory limit in the environment is no number.
    """
    most = _most_bytes(data)
    if FOOTER_EXPANSION * _footer_length(data) > most:
        return _read_in_child(data, max_rows)
    try:
        file = open_bytes(data)
        metadata, schema = dict(file.metadata.metadata or {}), file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        _refuse(error)
    num_rows = file.metadata.num_rows
    _require_rows(num_rows, max_rows)
    try:
        groups = decoded_bytes(data, file.metadata)
    except UnknownLayoutError:
        return _read_in_child(data, max_rows)
    if (max(groups, default=0) if is_streamed else sum(groups)) > most:
        return _read_in_child(data, max_rows)
    return UntrustedFile(metadata=metadata, schema=schema, num_rows=num_rows, file=file, table=None)


def _most_bytes(data: bytes) -> int:
    return max(_ALWAYS_BYTES, _LARGEST_RATIO * len(data))


def _footer_length(data: bytes) -> int:
    return int.from_bytes(data[-_TAIL_BYTES : -_TAIL_BYTES + _LENGTH_BYTES], "little")


def _require_rows(num_rows: int, max_rows: int | None) -> None:
    if max_rows is not None and num_rows > max_rows:
        raise UnreadableFileError(
            f"its footer announces {num_rows} rows, there can be {max_rows} at most"
        )


def _refuse(error: Exception) -> NoReturn:
    raise UnreadableFileError(f"it cannot be read as Parquet: {one_line(error)}") from error


@dataclass(frozen=True, kw_only=True)
class _Request:
    data: bytes
    max_rows: int | None


def _read_in_child(data: bytes, max_rows: int | None) -> UntrustedFile:
    size_mib = _memory_limit_mib()
    options = ChildOptions(memory_bytes=size_mib * _MIB, environment=_POOL)
    request = _Request(data=data, max_rows=max_rows)
    try:
        with ChildProcess(_read_as_stream, options) as child:
            answer = child.call(request, limit_s=_READ_TIMEOUT_S)
    except ChildCrashedError as error:
        raise UnreadableFileError(
            f"it cannot be read within {size_mib} MiB of memory ({MEMORY_LIMIT}): {one_line(error)}"
        ) from error
    if isinstance(answer, str):
        raise UnreadableFileError(answer)
    metadata, stream = answer
    owned = pa.allocate_buffer(len(stream))
    memoryview(owned).cast("B")[:] = stream
    table = pa.ipc.open_stream(owned).read_all()
    return UntrustedFile(
        metadata=metadata, schema=table.schema, num_rows=table.num_rows, file=None, table=table
    )


def _read_as_stream(request: _Request) -> tuple[dict[bytes, bytes], bytes] | str:
    """Read a file in the child: its metadata, and its rows as a stream of Arrow; or what is wrong.

    Raises:
        MemoryError: the limit is reached.
    """
    try:
        file = open_bytes(request.data)
        _require_rows(file.metadata.num_rows, request.max_rows)
        table = file.read(use_threads=False)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return dict(file.metadata.metadata or {}), sink.getvalue().to_pybytes()
    except UnreadableFileError as error:
        return str(error)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        if _NO_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        return f"it cannot be read as Parquet: {one_line(error)}"


def _memory_limit_mib() -> int:
    text = os.environ.get(MEMORY_LIMIT, str(_DEFAULT_MIB))
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ConfigError(f"{MEMORY_LIMIT}={text!r}: must be a whole number of MiB, at least 1")
    return int(text)
