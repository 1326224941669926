"""A Parquet file with an image in every row, or the uri of one: its rows as items, and their bytes.

The file is opened once per process.
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
from itertools import accumulate

import pyarrow as pa

from fcos_core.errors import ConfigError, DataError, ImageError, one_line
from jobs.inputs.item import InputItem, referenced_item
from jobs.storage import ObjectInfo, folder_of
from jobs.storage.member_uri import member_uri
from jobs.storage.parquet import open_object

URI_COLUMN = "uri"
BYTES_COLUMNS = ("bytes", "image", "image_bytes")
"""Names that are looked for, in this order; Hugging Face's ``image`` is a struct with ``bytes``."""

_KEPT_GROUPS = 2
"""Row groups in memory per file: items come nearly in order, from several threads at once."""

_opening = threading.Lock()


class ParquetImages:
    """Reads single rows of a file's image column; may be used by many threads.

    Raises:
        DataError: the file is no Parquet file, or has neither a column of bytes nor ``uri``.
    """

    def __init__(self, info: ObjectInfo) -> None:
        self.uri = info.uri
        self._lock = threading.Lock()
        self._groups: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        try:
            self._file = open_object(info)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{info.uri}: no readable Parquet file: {one_line(error)}") from error
        metadata = self._file.metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._ends = list(accumulate(sizes))
        self.num_rows: int = metadata.num_rows
        self.bytes_column = self._find_bytes_column()
        if self.bytes_column is None and not self._has_uris():
            names = ", ".join(self._file.schema_arrow.names)
            wanted = ", ".join(BYTES_COLUMNS)
            raise DataError(
                f"{info.uri}: no column of image bytes ({wanted}) and no text column uri; "
                f"it has {names}"
            )

    def uris(self) -> Iterator[str | None]:
        """Read the uri column, row by row.

        Yields:
            One per row.

        Raises:
            DataError: the column cannot be read.
        """
        try:
            for batch in self._file.iter_batches(columns=[URI_COLUMN], use_threads=False):
                yield from batch.column(0).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.uri}: column uri: {one_line(error)}") from error

    def read(self, row: int) -> bytes:
        """Read the image of one row; rows count from 0 over all row groups.

        Raises:
            DataError: there is no such row, its value is null, or its row group is damaged.
        """
        if not 0 <= row < self.num_rows:
            raise DataError(f"no row {row}, {self.num_rows} rows")
        if self.bytes_column is None:
            raise DataError("no column of image bytes")
        group = bisect_right(self._ends, row)
        start = self._ends[group - 1] if group else 0
        value = self._read_group(group, self.bytes_column)[row - start]
        if pa.types.is_struct(value.type) and value.is_valid:
            value = value["bytes"]
        if not value.is_valid:
            raise DataError(f"column {self.bytes_column} is null")
        return value.as_py()

    def _read_group(self, group: int, column: str) -> pa.ChunkedArray:
        with self._lock:
            if group not in self._groups:
                try:
                    table = self._file.read_row_group(group, columns=[column], use_threads=False)
                except (pa.ArrowException, OSError) as error:
                    raise DataError(f"row group {group}: {one_line(error)}") from error
                self._groups[group] = table.column(0)
                while len(self._groups) > _KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            return self._groups[group]

    def _find_bytes_column(self) -> str | None:
        schema = self._file.schema_arrow
        for name in BYTES_COLUMNS:
            if schema.get_field_index(name) < 0:
                continue
            kind = schema.field(name).type
            if _is_binary(kind):
                return name
            inner = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
            if inner >= 0 and _is_binary(kind.field(inner).type):
                return f"{name}.bytes"
        return None

    def _has_uris(self) -> bool:
        schema = self._file.schema_arrow
        if schema.get_field_index(URI_COLUMN) < 0:
            return False
        kind = schema.field(URI_COLUMN).type
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def enumerate_rows(info: ObjectInfo) -> Iterator[InputItem]:
    """List an image per row: the bytes in the row if there is such a column, otherwise its ``uri``.

    A relative path in ``uri`` is relative to the Parquet file's own folder.

    Yields:
        Items in the order of the rows.

    Raises:
        ConfigError: a uri is null, empty or names a folder.
        DataError: the file is no Parquet file, or has neither column.
    """
    images = ParquetImages(info)
    if images.bytes_column is not None:
        for row in range(images.num_rows):
            uri = member_uri(info.uri, row)
            yield InputItem(uri=uri, mtime_ns=info.mtime_ns, etag=info.etag)
        return
    folder = folder_of(info.uri)
    for row, name in enumerate(images.uris()):
        place = f"{info.uri}, row {row}"
        if not name:
            raise ConfigError(f"{place}: uri is {name!r}")
        yield referenced_item(name, folder, place=place)


def read_row(info: ObjectInfo, row: str, *, max_bytes: int) -> bytes:
    """Read the image of a row that a uri names; may be called from many threads.

    Raises:
        DataError: the file cannot be read or has no such row.
        ImageError: ``row`` is no number, or the image is larger than ``max_bytes``.
    """
    if not row.isdecimal():
        raise ImageError(f"{row!r} is no row number")
    with _opening:
        images = _parquet_images(info)
    data = images.read(int(row))
    if len(data) > max_bytes:
        raise ImageError(f"{len(data)} bytes, limit {max_bytes}")
    return data


@lru_cache(maxsize=2)
def _parquet_images(info: ObjectInfo) -> ParquetImages:
    return ParquetImages(info)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
