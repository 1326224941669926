"""The items of a listing as columns, as many as there are: in memory, or on disk."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter

import pyarrow as pa
import pyarrow.compute as pc

from fcos_core.errors import ConfigError
from jobs.inputs.item import InputItem
from jobs.inputs.spool import BATCH_ROWS, MEMORY_ROWS, Spool, TemporaryFolder

ITEMS = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("is_video", pa.bool_(), nullable=False),
        pa.field("size_bytes", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("image_id", pa.int64()),
    ]
)
"""The fields of ``InputItem``."""

_values_of = attrgetter(*ITEMS.names)


class ItemSpool:
    """Items in order; may be iterated again and again.

    Attributes:
        num_videos: how many of them are videos.
        is_sized: whether the width and height of every image are known.
    """

    def __init__(
        self, folder: TemporaryFolder | None = None, *, memory_rows: int = MEMORY_ROWS
    ) -> None:
        self._spool = Spool(ITEMS, folder, memory_rows=memory_rows)
        self.num_videos = 0
        self.is_sized = True

    @classmethod
    def of(cls, items: Iterable[InputItem], *, memory_rows: int = MEMORY_ROWS) -> ItemSpool:
        """Take some items."""
        spool = cls(memory_rows=memory_rows)
        rest = iter(items)
        while some := list(islice(rest, BATCH_ROWS)):
            spool.append(items_to_batch(some))
        return spool

    @property
    def folder(self) -> TemporaryFolder:
        """Where the items lie that memory does not hold."""
        return self._spool.folder

    def append(self, batch: pa.RecordBatch) -> None:
        """Add an ``ITEMS`` batch at the end."""
        self._spool.append(batch)
        is_video = batch.column("is_video")
        self.num_videos += pc.sum(is_video).as_py() or 0
        if self.is_sized:
            sides = batch.column("width").is_valid(), batch.column("height").is_valid()
            is_known = pc.or_(is_video, pc.and_(*sides))
            self.is_sized = pc.all(is_known).as_py() is not False

    def take_over(self, other: ItemSpool) -> None:
        """Add all items of another spool of the same folder, which is empty from then on."""
        self._spool.take_over(other._spool)
        self.num_videos += other.num_videos
        self.is_sized &= other.is_sized

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the items as ``ITEMS`` batches.

        Returns:
            At least one item at a time.
        """
        return self._spool.batches()

    def __len__(self) -> int:
        """Count the items."""
        return len(self._spool)

    def __iter__(self) -> Iterator[InputItem]:
        """Make an object of every item.

        Yields:
            The items in order.
        """
        for batch in self.batches():
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield InputItem(**dict(zip(ITEMS.names, values, strict=True)))

    def close(self) -> None:
        """Forget the items and remove their files."""
        self._spool.close()


def items_to_batch(items: Sequence[InputItem]) -> pa.RecordBatch:
    """Make the ``ITEMS`` batch of some items.

    Raises:
        ConfigError: a uri is not UTF-8 text, which a table cannot hold.
    """
    values = zip(*map(_values_of, items), strict=True) if items else [()] * len(ITEMS)
    try:
        columns = [pa.array(some, field.type) for some, field in zip(values, ITEMS, strict=True)]
    except UnicodeEncodeError as error:
        raise ConfigError(_first_without_utf8(items)) from error
    return pa.RecordBatch.from_arrays(columns, schema=ITEMS)


def _first_without_utf8(items: Sequence[InputItem]) -> str:
    for item in items:
        try:
            item.uri.encode()
        except UnicodeEncodeError:
            return f"{item.uri!r}: the file name is not UTF-8; rename the file"
    return "a version mark of an input is not UTF-8"
