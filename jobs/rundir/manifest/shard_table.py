"""Where each shard of a manifest lies: a few bytes per shard, whatever its items are."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.rundir.schemas import MANIFEST_INDEX

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardTable:
    """The shards of a manifest, by number; 24 bytes each.

    Attributes:
        numbers: of the shards, rising.
        parts: number of the part that holds each shard's items.
        first_items: item_id of each shard's first item.
        num_items: items of each shard.
        num_rows: images and frames of each shard.
    """

    numbers: Int32Array
    parts: Int32Array
    first_items: Int64Array
    num_items: Int32Array
    num_rows: Int32Array

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def total_items(self) -> int:
        return int(self.num_items.sum(dtype=np.int64))

    @property
    def total_rows(self) -> int:
        """Images and frames."""
        return int(self.num_rows.sum(dtype=np.int64))

    def place(self, number: int) -> int | None:
        """Find the row of a shard in this table; None when there is no such shard."""
        place = int(np.searchsorted(self.numbers, number))
        found = place < len(self.numbers) and self.numbers[place] == number
        return place if found else None

    def select(self, places: npt.NDArray[np.generic] | slice) -> ShardTable:
        """Take some of the shards."""
        return ShardTable(
            **{field.name: getattr(self, field.name)[places] for field in fields(self)}
        )

    def to_arrow(self) -> pa.Table:
        """Make the ``MANIFEST_INDEX`` table."""
        columns = (self.numbers, self.parts, self.first_items, self.num_items, self.num_rows)
        return pa.Table.from_arrays(
            [
                pa.array(column, field.type)
                for column, field in zip(columns, MANIFEST_INDEX, strict=True)
            ],
            schema=MANIFEST_INDEX,
        )

    @classmethod
    def from_arrow(cls, table: pa.Table) -> ShardTable:
        """Read a ``MANIFEST_INDEX`` table."""
        numbers, parts, first, items, rows = (
            table.column(field.name).to_numpy() for field in MANIFEST_INDEX
        )
        return cls(numbers=numbers, parts=parts, first_items=first, num_items=items, num_rows=rows)

    @classmethod
    def empty(cls) -> ShardTable:
        return cls.from_arrow(MANIFEST_INDEX.empty_table())

    @classmethod
    def concat(cls, tables: Sequence[ShardTable]) -> ShardTable:
        """Join the tables of a run and of its extensions, in order."""
        return cls(
            **{
                field.name: np.concatenate([getattr(table, field.name) for table in tables])
                for field in fields(cls)
            }
        )

    @classmethod
    def of_items(
        cls,
        shards: npt.NDArray[np.integer],
        rows: npt.NDArray[np.integer],
        *,
        part: int,
        first: int,
    ) -> ShardTable:
        """Count the shards of consecutive items.

        Args:
            shards: the shard of each item; never falls.
            rows: the images and frames that each item plans.
            part: the number of the part that holds them.
            first: item_id of the first item.
        """
        starts = np.flatnonzero(np.diff(shards, prepend=-1))
        num_items = np.diff(starts, append=len(shards))
        return cls(
            numbers=shards[starts].astype(np.int32),
            parts=np.full(len(starts), part, np.int32),
            first_items=starts.astype(np.int64) + first,
            num_items=num_items.astype(np.int32),
            num_rows=np.add.reduceat(rows.astype(np.int64), starts).astype(np.int32)
            if len(starts)
            else np.zeros(0, np.int32),
        )
