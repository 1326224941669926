"""What the arguments of ``fcos detect`` stand for: each becomes a sequence of images and videos.

=====================  ==========================================================================
a folder               files named like an image or a video, at any depth (``enumerate_folder``)
a pattern              the same, of the files that match; ``*.tar`` and ``*.parquet`` match archives
``*.txt``              a list of files, one per line (``enumerate_list``)
``*.json``             a COCO file's images (``enumerate_coco_file``)
``*.tar``              a WebDataset archive's images (``enumerate_members``)
``*.parquet``          an image or a uri per row (``enumerate_rows``)
any other file         one image or video, whatever its name
=====================  ==========================================================================

The order is that of the inputs and, within one, a stable one: by uri, or the file's own. An item
that is found twice keeps its first place.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from fcos_core.errors import ConfigError, StorageError
from jobs.inputs import files
from jobs.inputs.coco import enumerate_coco_file
from jobs.inputs.external_sort import external_sort
from jobs.inputs.item import InputItem
from jobs.inputs.item_spool import ITEMS, ItemSpool, items_to_batch
from jobs.inputs.seen_uris import SeenUris
from jobs.inputs.spool import BATCH_ROWS, MEMORY_ROWS, TemporaryFolder
from jobs.media.extensions import extension_of
from jobs.storage import absolute, local_path, storage_for
from jobs.storage.local_uri import FILE_SCHEME
from jobs.storage.member_uri import container_kind
from jobs.storage.patterns import is_pattern
from jobs.waiting import waiting

_Enumeration = partial[Iterator[InputItem]] | partial[Iterator[InputItem | None]]
_BY_URI = (files.enumerate_folder, files.enumerate_pattern)
"""Their items are sorted; not every S3 server lists in S3's order."""

_DISTINCT = (*_BY_URI, files.enumerate_file)
"""They find no file twice."""

_KEY = "key"
_KEYED_ITEMS = ITEMS.append(pa.field(_KEY, pa.binary(), nullable=False))


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The items of a run, not yet in the order of its manifest.

    Attributes:
        items: each uri once; they may lie in files, until ``close`` or until nothing refers to
            them any more.
        skipped: number of files that are named neither like an image nor like a video, and of
            members of archives that are not named like an image, have no content or are superseded;
            what lies behind the end of an archive counts once.
            With a limit, only those found before the limit was reached.
        repeated: number of items that were found before and dropped.
        annotations: uri of the COCO file when that is the only input; its image ids are then the
            run's.
    """

    items: ItemSpool
    skipped: int
    repeated: int
    annotations: str | None

    def close(self) -> None:
        """Forget the items and remove their files."""
        self.items.close()
        self.items.folder.close()


class _Items:
    """Takes the items of one input after the other: of those with one uri the first."""

    def __init__(self, *, limit: int | None, may_repeat: bool, memory_rows: int) -> None:
        self.skipped = 0
        self.repeated = 0
        self.num_found = 0
        self.folder = TemporaryFolder()
        self._memory_rows = memory_rows
        self.kept = ItemSpool(self.folder, memory_rows=memory_rows)
        self._limit = limit
        self._seen = SeenUris(self.folder, memory_rows=memory_rows) if may_repeat else None

    @property
    def is_full(self) -> bool:
        return self._limit is not None and len(self.kept) >= self._limit

    def take(self, found: Iterator[InputItem | None], *, by_uri: bool) -> None:
        """Take the items of one input up to the limit, in their order or by uri."""
        items = self._counted(found)
        taken = ItemSpool(self.folder, memory_rows=self._memory_rows)
        num_kept = len(self.kept)
        order = _Order()
        # No more is read ahead than could be kept: a listed file may cost a request.
        while some := list(islice(items, self._num_wanted(num_kept + len(taken)))):
            batch = items_to_batch(some)
            if self._seen is not None:
                is_repeated = self._seen.add(batch.column("uri").to_pylist())
                self.repeated += int(is_repeated.sum())
                batch = batch.filter(pa.array(~is_repeated))
            if by_uri:
                order.check(batch)
            taken.append(batch)
        if not order.is_sorted:
            taken = self._sorted(taken)
        self.kept.take_over(taken)

    def _num_wanted(self, num_taken: int) -> int:
        return BATCH_ROWS if self._limit is None else min(BATCH_ROWS, self._limit - num_taken)

    def _counted(self, found: Iterator[InputItem | None]) -> Iterator[InputItem]:
        for item in found:
            self.num_found += 1
            if item is None:
                self.skipped += 1
            else:
                yield item

    def _sorted(self, items: ItemSpool) -> ItemSpool:
        keyed = (
            pa.RecordBatch.from_arrays([*batch.columns, _path_keys(batch)], schema=_KEYED_ITEMS)
            for batch in items.batches()
        )
        by_key = external_sort(
            keyed, _KEYED_ITEMS, [_KEY], folder=self.folder, memory_rows=self._memory_rows
        )
        items.close()
        result = ItemSpool(self.folder, memory_rows=self._memory_rows)
        for batch in by_key.batches():
            result.append(batch.select(ITEMS.names))
        by_key.close()
        return result


class _Order:
    """Says whether batches of items come sorted by the bytes of their paths."""

    def __init__(self) -> None:
        self.is_sorted = True
        self._last = b""

    def check(self, batch: pa.RecordBatch) -> None:
        if not self.is_sorted or not batch.num_rows:
            return
        keys = _path_keys(batch)
        falls = pc.any(pc.less(keys[1:], keys[:-1])).as_py()
        self.is_sorted = not falls and keys[0].as_py() >= self._last
        self._last = keys[-1].as_py()


def _path_keys(batch: pa.RecordBatch) -> pa.Array:
    """Give the bytes of each item's path or uri."""
    uris = batch.column("uri")
    if not pc.any(pc.starts_with(uris, FILE_SCHEME)).as_py():
        return uris.cast(pa.binary())
    return pa.array([os.fsencode(local_path(uri)) for uri in uris.to_pylist()], pa.binary())


def enumerate_inputs(
    inputs: Sequence[str],
    *,
    image_root: str | None = None,
    image_column: str | None = None,
    limit: int | None = None,
    memory_rows: int = MEMORY_ROWS,
) -> Listing:
    """Find the images and videos that some inputs stand for.

    Every input must exist, even when the limit is reached before it.

    Args:
        inputs: as a user typed them.
        image_root: the folder with the images of a COCO file; None searches near the file.
        image_column: the column of Parquet files that holds images or names them; None looks for
            the usual names.
        limit: the number of items to take, from the front.
        memory_rows: the most items to keep in memory.

    Returns:
        At least one item per input that was reached.

    Raises:
        ConfigError: an input is missing, unreadable or empty, or a setting has no effect.
    """
    if not inputs:
        raise ConfigError(
            "no input: give an image, video, folder, list, pattern, COCO json, tar, Parquet"
        )
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit} is below 1")
    coco = [text for text in inputs if _is_coco(text)]
    if image_root is not None and not coco:
        raise ConfigError(f"image root {image_root!r} is given, but no input is a COCO json")
    if image_column is not None and not any(map(_is_parquet, inputs)):
        raise ConfigError(f"image column {image_column!r} is given, but no input is a Parquet file")
    try:
        enumerations = [(text, _resolve(text, image_root, image_column)) for text in inputs]
        may_repeat = len(inputs) > 1 or enumerations[0][1].func not in _DISTINCT
        items = _Items(limit=limit, may_repeat=may_repeat, memory_rows=memory_rows)
        for text, enumeration in enumerations:
            if items.is_full:
                break
            found, skipped = items.num_found, items.skipped
            with waiting(partial(_describe, text, items, found)):
                items.take(enumeration(), by_uri=enumeration.func in _BY_URI)
            if items.num_found - found == items.skipped - skipped:
                others = f"{items.skipped - skipped} files of other kinds"
                raise ConfigError(f"input {text!r} holds no image or video, {others}")
    except StorageError as error:
        raise ConfigError(f"input cannot be read: {error}") from error
    return Listing(
        items=items.kept,
        skipped=items.skipped,
        repeated=items.repeated,
        annotations=absolute(coco[0]) if len(inputs) == 1 and coco else None,
    )


def iterate_names(inputs: Sequence[str]) -> Iterator[str]:
    """List the files of those inputs that are folders or patterns; nothing is opened.

    Yields:
        The uri of each image and video, as ``enumerate_inputs`` gives it, in no order.

    Raises:
        ConfigError: an input does not exist any more.
        StorageError: it cannot be listed.
    """
    for text in inputs:
        enumeration = _resolve(text, None, None)
        if enumeration.func in _BY_URI:
            yield from (item.uri for item in enumeration() if item is not None)


def _describe(text: str, items: _Items, num_before: int) -> str:
    return f"listing {text!r}: {items.num_found - num_before:,} files so far"


def _resolve(text: str, image_root: str | None, image_column: str | None) -> _Enumeration:
    """Find out what an input is, so that a mistyped one fails before anything is listed.

    Raises:
        ConfigError: the input does not exist.
    """
    uri = absolute(text)
    storage = storage_for(uri)
    if storage.is_folder(uri):
        return partial(files.enumerate_folder, uri)
    is_archive = container_kind(uri) is not None
    info = storage.stat(uri)
    if info is None:
        if not is_pattern(uri):
            raise ConfigError(f"input {text!r} does not exist")
        if is_archive:
            return partial(files.enumerate_archives, uri, image_column)
        return partial(files.enumerate_pattern, uri)
    # Opened once, so that a missing permission is an error of the command and not of every item.
    storage.read_range(uri, 0, 1)
    if is_archive:
        return partial(files.enumerate_archive, info, image_column)
    extension = extension_of(uri)
    if extension == "json":
        return partial(enumerate_coco_file, uri, image_root)
    if extension == "txt":
        return partial(files.enumerate_list, uri)
    return partial(files.enumerate_file, info)


def _is_coco(text: str) -> bool:
    uri = absolute(text)
    return extension_of(uri) == "json" and storage_for(uri).stat(uri) is not None


def _is_parquet(text: str) -> bool:
    return container_kind(absolute(text)) == "parquet"
