"""The digests of rows and of a run: sha256 over little-endian fields (``docs/tables.md``).

Two runs with the same result have the same digest, so Parquet, the run's id, the names of
categories and the texts of errors and notes do not enter it.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# "has" is 1 where the value is known and 0 where it is null; a null value is written as 0.
_FIXED = np.dtype(
    [
        ("item_id", "<i8"),
        ("image_id", "<i8"),
        ("has_frame_index", "u1"),
        ("frame_index", "<i4"),
        ("has_last_frame", "u1"),
        ("last_frame", "<i4"),
        ("has_timestamp_s", "u1"),
        ("timestamp_s", "<f8"),
        ("has_width", "u1"),
        ("width", "<i4"),
        ("has_height", "u1"),
        ("height", "<i4"),
        ("has_error_class", "u1"),
        ("has_detections", "u1"),
        ("uri_bytes", "<u4"),
        ("status_bytes", "<u4"),
        ("error_class_bytes", "<u4"),
        ("num_detections", "<u4"),
    ]
)
_DETECTION = np.dtype(
    [
        ("category_id", "<i4"),
        ("score", "<f4"),
        ("x_min", "<f4"),
        ("y_min", "<f4"),
        ("x_max", "<f4"),
        ("y_max", "<f4"),
    ]
)
_TEXTS = ("uri", "status", "error_class")


class TreeDigest:
    """The digest of a run: over its shards' digests, in order, which may be made in parallel.

    So it depends on how the run is cut into shards, which its fingerprint holds.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, rows_sha256: str) -> None:
        self._hash.update(bytes.fromhex(rows_sha256))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class RowsDigest:
    """The digest of all rows of a run, fed in manifest order, however they are cut into shards."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, table: pa.Table) -> None:
        for row in canonical_rows(table):
            self._hash.update(row)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def rows_sha256(table: pa.Table) -> str:
    """Digest the rows of one table."""
    digest = RowsDigest()
    digest.update(table)
    return digest.hexdigest()


def canonical_rows(table: pa.Table) -> Iterator[bytes]:
    """Encode each row of a ``DETECTIONS`` table as the bytes that enter the digest.

    Yields:
        One row: the fixed fields, then uri, status, error_class, then the detections.
    """
    fixed = np.zeros(table.num_rows, _FIXED)
    for name in ("item_id", "image_id"):
        fixed[name] = _numbers(table.column(name))
    for name in ("frame_index", "last_frame", "timestamp_s", "width", "height"):
        column = table.column(name)
        fixed[f"has_{name}"] = _numbers(pc.is_valid(column))
        fixed[name] = _numbers(pc.fill_null(column, 0))
    fixed["has_error_class"] = _numbers(pc.is_valid(table.column("error_class")))
    texts = {name: _texts(table.column(name)) for name in _TEXTS}
    for name, values in texts.items():
        fixed[f"{name}_bytes"] = [len(value) for value in values]

    detections = table.column("detections")
    fixed["has_detections"] = _numbers(pc.is_valid(detections))
    fixed["num_detections"] = _numbers(pc.fill_null(pc.list_value_length(detections), 0))
    packed = _pack_detections(pc.list_flatten(detections))
    ends = np.cumsum(fixed["num_detections"], dtype=np.int64) * _DETECTION.itemsize

    fixed_bytes = memoryview(fixed.tobytes())
    start = 0
    for i, end in enumerate(ends.tolist()):
        yield b"".join(
            (
                fixed_bytes[i * _FIXED.itemsize : (i + 1) * _FIXED.itemsize],
                texts["uri"][i],
                texts["status"][i],
                texts["error_class"][i],
                packed[start:end],
            )
        )
        start = end


def _pack_detections(elements: Any) -> memoryview:  # noqa: ANN401 -- an untyped Arrow array
    packed = np.zeros(len(elements), _DETECTION)
    for name in _DETECTION.names or ():
        packed[name] = _numbers(pc.struct_field(elements, name))
    return memoryview(packed.tobytes())


def _numbers(column: Any) -> npt.NDArray[Any]:  # noqa: ANN401 -- an untyped Arrow array
    return (
        column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    )


def _texts(column: Any) -> list[bytes]:  # noqa: ANN401 -- an untyped Arrow array
    return [value or b"" for value in column.cast(pa.binary()).to_pylist()]
