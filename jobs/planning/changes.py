"""What an extension adds to a run: inputs that are new or changed since, and those that are gone.

Both sides are sorted together by uri, so that what belongs together lies together. Memory holds a
byte per listed input, and 13 bytes per item of the run that is changed or gone.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fcos_core.errors import ConfigError
from jobs.inputs.external_sort import external_sort
from jobs.inputs.item_spool import ItemSpool
from jobs.inputs.sources import Listing
from jobs.inputs.spool import MEMORY_ROWS, Spool, TemporaryFolder
from jobs.rundir.schemas import SUPERSEDED

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]

_KEY = "key"
_SIDES = pa.schema(
    [
        pa.field(_KEY, pa.binary(), nullable=False),  # the uri
        pa.field("place", pa.int64()),  # in the listing; null for an item of the run
        pa.field("item_id", pa.int64()),
        pa.field("shard", pa.int32()),
        pa.field("size_bytes", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("etag", pa.string()),
    ]
)

_IMAGE_IDS = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("is_listed", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a listing has that a run has not, and the other way round; counts are of inputs.

    A video is one input, however many items its segments are.

    Attributes:
        added: the inputs that are new or changed, in the listing's order.
        superseded: a ``SUPERSEDED`` table: the run's items that are changed or gone.
        num_new: inputs that the run does not have.
        num_changed: inputs that the run has in another version.
        num_vanished: inputs of the run that the listing does not have.
        num_unchanged: inputs that the run has as they are.
    """

    added: ItemSpool
    superseded: pa.Table
    num_new: int
    num_changed: int
    num_vanished: int
    num_unchanged: int

    def close(self) -> None:
        """Forget the inputs and remove their files."""
        self.added.close()
        self.added.folder.close()


def compare(
    listing: Listing,
    existing: Iterator[pa.RecordBatch],
    *,
    memory_rows: int = MEMORY_ROWS,
) -> Changes:
    """Find out by uri and version what is new, changed, gone and as it was.

    Where both etags are known, an input is changed when they differ or the sizes do; otherwise when
    sizes or times differ. What is not known on both sides is not compared.

    Args:
        listing: the inputs as they are now.
        existing: the run's current items: of the columns of ``MANIFEST`` at least ``item_id``,
            ``shard``, ``uri``, ``size_bytes``, ``etag`` and ``mtime_ns``, and ``image_id`` where
            the only input is a COCO file.
        memory_rows: the most rows to keep in memory.

    Raises:
        ConfigError: the listing gives an image the id that another one has in the run.
    """
    folder = TemporaryFolder()
    ids = None
    if listing.annotations is not None:
        ids = Spool(_IMAGE_IDS, folder, memory_rows=memory_rows)
    sides = _both_sides(listing, existing, ids)
    both = external_sort(sides, _SIDES, [_KEY], folder=folder, memory_rows=memory_rows)
    if ids is not None:
        _require_own_ids(listing, ids, memory_rows)
    is_added = np.zeros(len(listing.items), np.bool_)
    count, superseded = _Counts(), list[pa.RecordBatch]()
    for block in _whole_groups(both.batches()):
        groups = _Groups(block)
        count.add(groups)
        is_added[groups.added_places()] = True
        superseded.append(groups.superseded())
    both.close()
    table = pa.Table.from_batches(superseded, SUPERSEDED)
    return Changes(
        added=_selected(listing.items, is_added, folder, memory_rows),
        superseded=table.take(pc.sort_indices(table, sort_keys=[("item_id", "ascending")])),
        num_new=count.new,
        num_changed=count.changed,
        num_vanished=count.vanished,
        num_unchanged=count.unchanged,
    )


class _Counts:
    def __init__(self) -> None:
        self.new = self.changed = self.vanished = self.unchanged = 0

    def add(self, groups: _Groups) -> None:
        is_both = groups.has_old & groups.has_new
        self.new += int((groups.has_new & ~groups.has_old).sum())
        self.vanished += int((groups.has_old & ~groups.has_new).sum())
        self.changed += int((is_both & groups.is_changed).sum())
        self.unchanged += int((is_both & ~groups.is_changed).sum())


class _Groups:
    """The rows of whole uris: of each the items of the run first, then the listed input.

    Arrays have an entry per uri.
    """

    def __init__(self, block: pa.RecordBatch) -> None:
        self._block = block
        self._is_listed = block.column("place").is_valid().to_numpy(zero_copy_only=False)
        keys = block.column(_KEY)
        is_first = np.ones(block.num_rows, np.bool_)
        is_first[1:] = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
        self._firsts = np.flatnonzero(is_first)
        self._lasts = np.append(self._firsts[1:], block.num_rows) - 1
        self._group_of = np.cumsum(is_first) - 1
        self.has_old = ~self._is_listed[self._firsts]
        self.has_new = self._is_listed[self._lasts]
        self.is_changed = self._differ()

    def added_places(self) -> Int64Array:
        """Give the places in the listing of what is new or changed."""
        wanted = self._lasts[self.has_new & (~self.has_old | self.is_changed)]
        return self._block.column("place").take(pa.array(wanted)).to_numpy(zero_copy_only=False)

    def superseded(self) -> pa.RecordBatch:
        """Give the items of the run that are changed or gone."""
        is_out = ~self.has_new | self.is_changed
        rows = np.flatnonzero(~self._is_listed & is_out[self._group_of])
        taken = self._block.take(pa.array(rows))
        is_replaced = self.has_new[self._group_of[rows]]
        columns = [taken.column("item_id"), taken.column("shard"), pa.array(is_replaced)]
        return pa.RecordBatch.from_arrays(columns, schema=SUPERSEDED)

    def _differ(self) -> BoolArray:
        """Compare the listed input with the first item that the run has of it."""
        old = self._block.take(pa.array(self._firsts))
        new = self._block.take(pa.array(self._lasts))

        def differ(name: str) -> pa.Array:  # null where one is not known
            return pc.not_equal(old.column(name), new.column(name))

        # Storages with etags give an object that is only copied another time.
        other_mark = pc.coalesce(differ("etag"), differ("mtime_ns"))
        changed = pc.or_kleene(differ("size_bytes"), other_mark)
        return pc.fill_null(changed, fill_value=False).to_numpy(zero_copy_only=False)


def _both_sides(
    listing: Listing, existing: Iterator[pa.RecordBatch], ids: Spool | None
) -> Iterator[pa.RecordBatch]:
    """Put the listed inputs behind the items of the run; the sort keeps this order.

    Yields:
        ``_SIDES`` batches; ``ids`` gets the image ids of both.
    """
    for batch in existing:
        if ids is not None:
            ids.append(_with_ids(batch, is_listed=False))
        yield _side(batch, {name: batch.column(name) for name in ("item_id", "shard")})
    start = 0
    for batch in listing.items.batches():
        if ids is not None:
            ids.append(_with_ids(batch, is_listed=True))
        places = np.arange(start, start + batch.num_rows)
        yield _side(batch, {"place": pa.array(places)})
        start += batch.num_rows


def _with_ids(batch: pa.RecordBatch, *, is_listed: bool) -> pa.RecordBatch:
    side = pa.repeat(pa.scalar(is_listed), batch.num_rows)
    columns = [batch.column("image_id"), batch.column("uri"), side]
    return pa.RecordBatch.from_arrays(columns, schema=_IMAGE_IDS)


def _side(batch: pa.RecordBatch, known: dict[str, pa.Array]) -> pa.RecordBatch:
    known = {name: batch.column(name) for name in ("size_bytes", "mtime_ns", "etag")} | known
    known[_KEY] = batch.column("uri").cast(pa.binary())
    return pa.RecordBatch.from_arrays(
        [known.get(field.name, pa.nulls(batch.num_rows, field.type)) for field in _SIDES],
        schema=_SIDES,
    )


def _whole_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut sorted rows so that no uri is in two batches.

    Yields:
        At least one row.
    """
    held: list[pa.RecordBatch] = []
    for batch in batches:
        keys = batch.column(_KEY)
        # The last uri may go on in the next batch.
        place = pc.index(keys, keys[-1]).as_py()
        if held and keys[0] != held[-1].column(_KEY)[-1]:
            yield _joined(held)
            held = []
        if place:
            yield _joined([*held, batch.slice(0, place)])
            held = []
        held.append(batch.slice(place))
    if held:
        yield _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _selected(
    items: ItemSpool, is_wanted: BoolArray, folder: TemporaryFolder, memory_rows: int
) -> ItemSpool:
    selected = ItemSpool(folder, memory_rows=memory_rows)
    start = 0
    for batch in items.batches():
        end = start + batch.num_rows
        selected.append(batch.filter(pa.array(is_wanted[start:end])))
        start = end
    return selected


def _require_own_ids(listing: Listing, ids: Spool, memory_rows: int) -> None:
    """Refuse a COCO file that gives an image the id that another one has in the run.

    Raises:
        ConfigError: it does so.
    """
    by_id = external_sort(
        ids.batches(), _IMAGE_IDS, ["image_id"], folder=ids.folder, memory_rows=memory_rows
    )
    ids.close()
    before: pa.RecordBatch | None = None
    for batch in by_id.batches():
        rows = batch if before is None else pa.concat_batches([before, batch])
        numbers, uris, sides = rows.columns
        is_same = pc.and_(pc.equal(numbers[1:], numbers[:-1]), pc.not_equal(uris[1:], uris[:-1]))
        place = pc.index(pc.and_(is_same, pc.xor(sides[1:], sides[:-1])), value=True).as_py()
        if place >= 0:
            old, new = rows.slice(place, 2).to_pylist()
            raise ConfigError(
                f"{listing.annotations}: image {new['image_id']} is {new['uri']!r}, "
                f"but {old['uri']!r} has this id in the run; give it another id, or another --out"
            )
        before = batch.slice(batch.num_rows - 1)
    by_id.close()
