"""One part of a manifest: about a million items in a sealed Parquet file, read a few at a time."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa

from jobs.rundir.schemas import MANIFEST, SCHEMA_VERSION
from jobs.rundir.sealed_parquet import ColumnEncoding, encode_sealed, metadata_of, open_sealed
from jobs.rundir.untrusted.item_values import most_items, possible_items
from jobs.rundir.untrusted.parquet_file import UntrustedFile

ITEMS_PER_PART = 1_000_000
"""Items after which a part ends with its current shard: about 18 MiB."""

_ROWS_PER_GROUP = 16_384  # what a worker decodes for a shard

_ENCODING = ColumnEncoding(
    dictionary=("kind", "width", "height", "stream", "time_base_num", "time_base_den", "sampling"),
    delta=("item_id", "shard", "image_id"),
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part as the index names it.

    Attributes:
        name: of the file in ``manifest/``.
        sha256: of the whole file, in hex.
        size_bytes: of the file.
        first_item_id: its first item.
        num_items: its items, which follow each other.
    """

    name: str
    sha256: str
    size_bytes: int
    first_item_id: int
    num_items: int

    @property
    def end(self) -> int:
        """The item_id behind its last item."""
        return self.first_item_id + self.num_items


def parts_to_json(parts: tuple[Part, ...]) -> str:
    """Name parts for the footer of an index."""
    return json.dumps([asdict(part) for part in parts])


def parts_from_json(text: str) -> tuple[Part, ...]:
    """Read the parts that an index names.

    Raises:
        ValueError: they are no such list, or do not follow each other.
    """
    try:
        entries: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("its parts are nested too deeply") from error
    if not isinstance(entries, list):
        raise ValueError("its parts are no list")  # noqa: TRY004 -- of a file's content
    parts = tuple(_part(entry) for entry in cast("list[object]", entries))
    for before, after in pairwise(parts):
        if before.end != after.first_item_id:
            raise ValueError(f"part {after.name} begins with item {after.first_item_id}")
    return parts


def _part(entry: object) -> Part:
    types = {field.name: str if field.type == "str" else int for field in fields(Part)}
    values = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    if values.keys() != types.keys() or any(
        type(values[name]) is not types[name] for name in types
    ):
        raise ValueError(f"a part is described as {entry!r:.80}")
    part = Part(**values)
    if "/" in part.name or part.first_item_id < 0 or part.num_items < 1 or part.size_bytes < 1:
        raise ValueError(f"a part is described as {entry!r:.80}")
    return part


def encode_part(items: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """Write a part's items, a ``MANIFEST`` table, as a sealed file in memory."""
    assert items.schema.equals(MANIFEST)
    assert items.num_rows
    ids, shards = items.column("item_id").to_numpy(), items.column("shard").to_numpy()
    assert np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids)))
    assert np.all(np.diff(shards) >= 0)
    metadata = {**metadata, "schema_version": str(SCHEMA_VERSION)}
    return encode_sealed(items, metadata, _ENCODING, rows_per_group=_ROWS_PER_GROUP)


def describe_part(name: str, items: pa.Table, data: bytes) -> Part:
    """Describe an encoded part for the index."""
    return Part(
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        first_item_id=items.column("item_id")[0].as_py(),
        num_items=items.num_rows,
    )


def open_part(part: Part, data: bytes, *, run_id: str) -> OpenPart:
    """Check the file of a part, given as its bytes.

    Raises:
        ValueError: it is not the file that the index names, or no part of this run.
    """
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise ValueError("its bytes are not those that the index names: the sha256 differs")
    if len(data) != part.size_bytes:  # limits the memory that the items may take
        raise ValueError(f"it has {len(data)} bytes, the index says {part.size_bytes}")
    file = open_sealed(data, max_rows=most_items(len(data)), is_streamed=True)
    metadata = metadata_of(file)
    version = metadata.get("schema_version")
    if version != str(SCHEMA_VERSION) or not file.schema.equals(MANIFEST):
        raise ValueError(f"it has other columns, or tables of version {version}")
    if metadata.get("run_id") != run_id:
        raise ValueError(f"foreign: it is of run {metadata.get('run_id')}, this is run {run_id}")
    if file.num_rows != part.num_items:
        raise ValueError(f"it has {file.num_rows} items, the index says {part.num_items}")
    return OpenPart(part, file)


class OpenPart:
    """A part in memory, as the bytes of its file; of its items only those asked for are decoded."""

    def __init__(self, part: Part, file: UntrustedFile) -> None:
        self._part = part
        self._file = file
        self._groups = _group_starts(file)
        self._kept: tuple[int, list[pa.RecordBatch]] | None = None

    def batches(
        self, first_item_id: int, num_items: int, *, shard: int
    ) -> Iterator[pa.RecordBatch]:
        """Read consecutive items, few at a time.

        Args:
            first_item_id: the first of them.
            num_items: how many.
            shard: the shard of the first; those of the following ones never fall.

        Yields:
            The next ones, whose values are possible.

        Raises:
            ValueError: the part is damaged.
        """
        start = first_item_id - self._part.first_item_id
        end = start + num_items
        assert 0 <= start <= end <= self._part.num_items
        yield from possible_items(
            self._slices(start, end), first_item_id=first_item_id, first_shard=shard
        )

    def _slices(self, start: int, end: int) -> Iterator[pa.RecordBatch]:
        first = int(np.searchsorted(self._groups, start, side="right")) - 1
        last = int(np.searchsorted(self._groups, end, side="left"))
        for group in range(first, last):
            place = int(self._groups[group])
            for batch in self._decoded(group):
                before, after = max(start - place, 0), min(end - place, batch.num_rows)
                if before < after:
                    yield batch.slice(before, after - before)
                place += batch.num_rows

    def _decoded(self, group: int) -> list[pa.RecordBatch]:
        """Decode a row group; the last one is kept, since the next shard mostly lies in it too."""
        if self._kept is None or self._kept[0] != group:
            self._kept = group, list(self._file.iter_batches([group]))
        return self._kept[1]


def _group_starts(file: UntrustedFile) -> np.ndarray[Any, np.dtype[np.int64]]:
    sizes = file.rows_of_groups()
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
