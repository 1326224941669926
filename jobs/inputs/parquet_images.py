"""A Parquet file with an image in every row, or the uri of one: its rows as items, and their bytes.

A row is ``<table>.parquet#<row>``, or ``<table>.parquet#<column>#<row>`` where the user names the
column. The file is opened once per process.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, repeat
from typing import NamedTuple

import pyarrow as pa

from fcos_core.errors import ConfigError, DataError, ImageError, one_line
from jobs.inputs.item import InputItem, referenced_item
from jobs.storage import ObjectInfo, folder_of
from jobs.storage.member_uri import member_uri
from jobs.storage.parquet import open_object, require_described

URI_COLUMN = "uri"
BYTES_COLUMNS = ("bytes", "image", "image_bytes")
"""Names that are looked for, in this order; Hugging Face's ``image`` is a struct with ``bytes``."""

_BYTES_FIELD, _PATH_FIELD = "bytes", "path"
_KEPT_GROUPS = 2
"""Row groups in memory per file: items come nearly in order, from several threads at once."""

_opening = threading.Lock()


class _Source(NamedTuple):
    """A column, and its parts that hold images and names of images; one may lack.

    A part is the column itself, or a field of a struct, written ``column.field``. Another column
    may be called like a field, so what is read by such a name is told apart by ``column``.
    """

    column: str
    bytes: str | None
    names: str | None


class ParquetImages:
    """Reads single rows of a file's image column; may be used by many threads.

    Args:
        info: the file.
        column: of bytes, of text (paths or uris), or a struct with ``bytes`` or ``path``; None
            looks for one of the usual names.

    Raises:
        DataError: the file is no Parquet file, has no such column, or it is encrypted.
    """

    def __init__(self, info: ObjectInfo, column: str | None = None) -> None:
        self.uri = info.uri
        self._lock = threading.Lock()
        self._groups: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        try:
            self._file = open_object(info)
        except UnicodeDecodeError as error:
            raise DataError(f"{info.uri}: the name of a column is not UTF-8") from error
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{info.uri}: no readable Parquet file: {one_line(error)}") from error
        metadata = self._file.metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._ends = list(accumulate(sizes))
        self.num_rows: int = metadata.num_rows
        self._source = self._find_source(column)
        if metadata.num_row_groups:
            for name in (self._source.bytes, self._source.names):
                self._require_described(0, self._numbers_of(name) if name else [], name)

    def names(self) -> Iterator[str | None]:
        """Read where the images of the rows are, row by row.

        Yields:
            A path or uri, or None where the row holds the image itself, or nothing.

        Raises:
            DataError: a column cannot be read.
            ConfigError: a row of a column of text is null or empty.
        """
        for group in range(self._file.metadata.num_row_groups):
            names = self._names_of_group(group)
            if self._source.bytes is not None:
                yield from names
                continue
            start = self._ends[group - 1] if group else 0
            for row, name in enumerate(names, start=start):
                if not name:
                    raise ConfigError(f"{self.uri}, row {row}: {self._source.names} is {name!r}")
                yield name

    def read(self, row: int) -> bytes:
        """Read the image of one row; rows count from 0 over all row groups.

        Raises:
            DataError: there is no such row, its value is null, or its row group is damaged.
        """
        if not 0 <= row < self.num_rows:
            raise DataError(f"no row {row}, {self.num_rows} rows")
        if self._source.bytes is None:
            raise DataError("no column of image bytes")
        group = bisect_right(self._ends, row)
        start = self._ends[group - 1] if group else 0
        value = self._read_group(group, self._source.bytes)[row - start]
        if pa.types.is_struct(value.type) and value.is_valid:
            value = value[_BYTES_FIELD]
        data: bytes | None = value.as_py()
        if data is None:
            raise DataError(f"column {self._source.bytes} is null")
        return data

    def _read_group(self, group: int, column: str) -> pa.ChunkedArray:
        with self._lock:
            if group not in self._groups:
                self._groups[group] = self._read_columns(group, [column])
                while len(self._groups) > _KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            return self._groups[group]

    def _read_columns(self, group: int, columns: list[str]) -> pa.ChunkedArray:
        """Read parts of the source's column of a row group.

        Raises:
            DataError: the row group is damaged.
        """
        try:
            table = self._file.read_row_group(group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"row group {group}: {one_line(error)}") from error
        # By dotted names Arrow also reads columns that are called like a field.
        return table.column(self._source.column)

    def _names_of_group(self, group: int) -> Iterator[str | None]:
        """Give the names of a row group's images.

        Yields:
            One per row; None where the row holds its image.

        Raises:
            DataError: a column cannot be read.
        """
        source, num_rows = self._source, self._file.metadata.row_group(group).num_rows
        if source.names is None:
            yield from repeat(None, num_rows)
            return
        num_null = None if source.bytes is None else self._num_null(group, source.bytes)
        if num_null == 0:
            yield from repeat(None, num_rows)
            return
        has_bytes = source.bytes is not None and num_null != num_rows
        columns = [source.names, *([source.bytes] if source.bytes and has_bytes else [])]
        try:
            for chunk in self._read_columns(group, columns).chunks:
                names = _fields(chunk).get(_PATH_FIELD, chunk).to_pylist()
                if has_bytes:
                    are_null = _fields(chunk)[_BYTES_FIELD].is_null().to_pylist()
                    pairs = zip(names, are_null, strict=True)
                    names = [name if is_null else None for name, is_null in pairs]
                yield from names
        except (DataError, UnicodeDecodeError) as error:
            raise DataError(f"{self.uri}: column {source.names}: {one_line(error)}") from error

    def _num_null(self, group: int, column: str) -> int | None:
        """Count the nulls of a column in a row group by the file's statistics, if it has them."""
        numbers = self._numbers_of(column)
        row_group = self._file.metadata.row_group(group)
        if len(numbers) != 1 or numbers[0] >= row_group.num_columns:
            return None  # a field of a struct and a column of the same name cannot be told apart
        self._require_described(group, numbers, column)
        chunk = row_group.column(numbers[0])
        if chunk.physical_type != self._file.schema.column(numbers[0]).physical_type:
            return None  # to ask for its statistics would end the process
        if chunk.statistics is None or not chunk.statistics.has_null_count:
            return None
        return chunk.statistics.null_count

    def _numbers_of(self, name: str) -> list[int]:
        """Give the numbers of the columns with a name, as the file stores and counts them."""
        schema = self._file.schema
        return [i for i in range(len(schema)) if schema.column(i).path == name]

    def _require_described(self, group: int, numbers: list[int], name: str | None) -> None:
        """Refuse columns that Arrow cannot describe, before anything is asked about them.

        Raises:
            DataError: they are encrypted, or damaged.
        """
        try:
            require_described(self._file.metadata, group, numbers)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{self.uri}: column {name} is unreadable: {one_line(error)}"
            ) from error

    def _find_source(self, column: str | None) -> _Source:
        schema = self._file.schema_arrow
        if column is not None:
            source = _source_of(schema, column)
            if source is None:
                raise DataError(
                    f"{self.uri}: no column {column!r} of bytes, of text, or a struct with bytes "
                    f"or path; it has {_describe(schema)}"
                )
            return source
        for name in BYTES_COLUMNS:
            source = _source_of(schema, name)
            if source is not None and source.bytes is not None:
                return source
        source = _source_of(schema, URI_COLUMN)
        if source is not None and source.names == URI_COLUMN:
            return source
        wanted = ", ".join(BYTES_COLUMNS)
        raise DataError(
            f"{self.uri}: no column of image bytes ({wanted}) and no text column uri; it has "
            f"{_describe(schema)}; name one with --image-column"
        )


def enumerate_rows(info: ObjectInfo, column: str | None = None) -> Iterator[InputItem]:
    """List an image per row: the bytes in the row, otherwise the file that the row names.

    A relative path is relative to the Parquet file's own folder.

    Yields:
        Items in the order of the rows.

    Raises:
        ConfigError: a uri is null, empty or names a folder.
        DataError: the file is no Parquet file, or has no such column.
    """
    images = ParquetImages(info, column)
    folder = folder_of(info.uri)
    for row, name in enumerate(images.names()):
        if name:
            yield referenced_item(name, folder, place=f"{info.uri}, row {row}")
        else:
            member = row if column is None else f"{column}#{row}"
            uri = member_uri(info.uri, member)
            yield InputItem(uri=uri, mtime_ns=info.mtime_ns, etag=info.etag)


def read_row(info: ObjectInfo, member: str, *, max_bytes: int) -> bytes:
    """Read the image of a row that a uri names; may be called from many threads.

    Raises:
        DataError: the file cannot be read or has no such row.
        ImageError: ``member`` has no number, or the image is larger than ``max_bytes``.
    """
    column, mark, row = member.rpartition("#")
    if not row.isdecimal():
        raise ImageError(f"{row!r} is no row number")
    with _opening:
        images = _parquet_images(info, column if mark else None)
    data = images.read(int(row))
    if len(data) > max_bytes:
        raise ImageError(f"{len(data)} bytes, limit {max_bytes}")
    return data


@lru_cache(maxsize=2)
def _parquet_images(info: ObjectInfo, column: str | None) -> ParquetImages:
    return ParquetImages(info, column)


def _source_of(schema: pa.Schema, name: str) -> _Source | None:
    if schema.get_field_index(name) < 0:
        return None
    kind = schema.field(name).type
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        has_bytes = _BYTES_FIELD in fields and _is_binary(fields[_BYTES_FIELD])
        has_names = _PATH_FIELD in fields and _is_text(fields[_PATH_FIELD])
        source = _Source(
            name,
            f"{name}.{_BYTES_FIELD}" if has_bytes else None,
            f"{name}.{_PATH_FIELD}" if has_names else None,
        )
        return source if has_bytes or has_names else None
    if _is_binary(kind):
        return _Source(name, name, None)
    return _Source(name, None, name) if _is_text(kind) else None


def _fields(chunk: pa.Array) -> dict[str, pa.Array]:
    """Give the fields of a struct, each null where the struct is; none of another column."""
    if not pa.types.is_struct(chunk.type):
        return {}
    names = (field.name for field in chunk.type)
    return dict(zip(names, chunk.flatten(), strict=True))


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _is_binary(kind: pa.DataType) -> bool:
    kind = _without_dictionary(kind)
    return (
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    kind = _without_dictionary(kind)
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _without_dictionary(kind: pa.DataType) -> pa.DataType:
    """Look through the encoding of categories, as pandas and Polars write it."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
