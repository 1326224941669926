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

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from fcos_core.errors import ConfigError, StorageError
from jobs.inputs import files
from jobs.inputs.coco import enumerate_coco_file
from jobs.inputs.item import InputItem
from jobs.media.extensions import extension_of
from jobs.storage import absolute, local_path, storage_for
from jobs.storage.member_uri import container_kind
from jobs.storage.patterns import is_pattern
from jobs.waiting import waiting

_Enumeration = partial[Iterator[InputItem]] | partial[Iterator[InputItem | None]]
_UNSORTED = (files.enumerate_folder, files.enumerate_pattern)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The items of a run, not yet in the order of its manifest.

    Attributes:
        items: each uri once.
        skipped: number of files that are named neither like an image nor like a video, and of
            members of archives that are not named like an image, have no content or are superseded;
            what lies behind the end of an archive counts once.
            With a limit, only those found before the limit was reached.
        repeated: number of items that were found before and dropped.
        annotations: uri of the COCO file when that is the only input; its image ids are then the
            run's.
    """

    items: tuple[InputItem, ...]
    skipped: int
    repeated: int
    annotations: str | None


class _DistinctItems:
    """Keeps the first of the items with one uri, and counts what it leaves out."""

    def __init__(self) -> None:
        self.skipped = 0
        self.repeated = 0
        self._uris: set[str] = set()

    @property
    def num_found(self) -> int:
        return len(self._uris) + self.skipped + self.repeated

    def keep(self, found: Iterable[InputItem | None]) -> Iterator[InputItem]:
        for item in found:
            if item is None:
                self.skipped += 1
            elif item.uri in self._uris:
                self.repeated += 1
            else:
                self._uris.add(item.uri)
                yield item


def enumerate_inputs(
    inputs: Sequence[str],
    *,
    image_root: str | None = None,
    image_column: str | None = None,
    limit: int | None = None,
) -> Listing:
    """Find the images and videos that some inputs stand for.

    Every input must exist, even when the limit is reached before it.

    Args:
        inputs: as a user typed them.
        image_root: the folder with the images of a COCO file; None searches near the file.
        image_column: the column of Parquet files that holds images or names them; None looks for
            the usual names.
        limit: the number of items to take, from the front.

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
    distinct = _DistinctItems()
    items: list[InputItem] = []
    try:
        enumerations = [(text, _resolve(text, image_root, image_column)) for text in inputs]
        for text, enumeration in enumerations:
            left = None if limit is None else limit - len(items)
            if left == 0:
                break
            found, skipped = len(items) + distinct.repeated, distinct.skipped
            with waiting(partial(_describe, text, distinct, distinct.num_found)):
                taken = list(islice(distinct.keep(enumeration()), left))
            if enumeration.func in _UNSORTED:
                # Cheap when already sorted; not every S3 server lists in S3's order.
                taken.sort(key=lambda item: os.fsencode(local_path(item.uri)))
            items.extend(taken)
            if found == len(items) + distinct.repeated:
                others = f"{distinct.skipped - skipped} files of other kinds"
                raise ConfigError(f"input {text!r} holds no image or video, {others}")
    except StorageError as error:
        raise ConfigError(f"input cannot be read: {error}") from error
    return Listing(
        items=tuple(items),
        skipped=distinct.skipped,
        repeated=distinct.repeated,
        annotations=absolute(coco[0]) if len(inputs) == 1 and coco else None,
    )


def _describe(text: str, distinct: _DistinctItems, num_before: int) -> str:
    return f"listing {text!r}: {distinct.num_found - num_before:,} files so far"


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
