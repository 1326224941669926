"""What the words after ``fcos detect`` stand for: each becomes a sequence of images and videos.

=====================  ==========================================================================
a folder               files named like an image or a video, at any depth; see ``inputs_files``
a pattern              the same, of what matches; ``*.tar`` and ``*.parquet`` match archives
``*.txt``              a list of files, one per line
``*.json``             a COCO file's images; see ``inputs_coco``
``*.tar``              a WebDataset archive's images; see ``inputs_archive``
``*.parquet``          an image or a uri per row; see ``inputs_archive``
any other file         one image or video, whatever its name
=====================  ==========================================================================

The order is that of the inputs and, within one, a stable one: by uri, or the file's own. An item
that is found twice is kept where it was found first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from fcos_core.errors import ConfigError, StorageError
from jobs.inputs import archives as inputs_archive
from jobs.inputs import coco as inputs_coco
from jobs.inputs import files as inputs_files
from jobs.inputs.item import InputItem, Tally
from jobs.storage import absolute, storage_for
from jobs.storage.patterns import is_pattern

_Enumeration = partial[Iterator[InputItem]]
_LISTINGS = (inputs_files.in_folder, inputs_files.matching)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The items of a run, not yet in the order of its manifest.

    Attributes:
        items: each uri once.
        skipped: files that were passed over because of their names. With a
            limit, only those met before it was reached.
        repeated: items that were found before and dropped.
        annotations: uri of the COCO file when that is the only input; its image ids are then the
            run's.
    """

    items: tuple[InputItem, ...]
    skipped: int
    repeated: int
    annotations: str | None


def enumerate_inputs(
    inputs: Sequence[str], *, image_root: str | None = None, limit: int | None = None
) -> Listing:
    """Find the images and videos that some inputs stand for.

    Every input is looked at, whether or not the limit is reached before it.

    Args:
        inputs: as a person typed them.
        image_root: where the images of a COCO file lie; None looks near the file.
        limit: take only so many, from the front.

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
    tally = Tally()
    items: list[InputItem] = []
    try:
        enumerations = [(text, _resolve(text, image_root)) for text in inputs]
        for text, enumeration in enumerations:
            left = None if limit is None else limit - len(items)
            if left == 0:
                break
            found, skipped = len(items) + tally.repeated, tally.skipped
            taken = list(islice(filter(tally.is_new, enumeration(tally)), left))
            if enumeration.func in _LISTINGS:
                # Costs nothing where they are; not every S3 server keeps to S3's order.
                taken.sort(key=lambda item: os.fsencode(item.uri))
            items.extend(taken)
            if found == len(items) + tally.repeated:
                others = f"{tally.skipped - skipped} files of other kinds"
                raise ConfigError(f"input {text!r} holds no image or video, {others}")
    except StorageError as error:
        raise ConfigError(f"input cannot be read: {error}") from error
    return Listing(
        items=tuple(items),
        skipped=tally.skipped,
        repeated=tally.repeated,
        annotations=absolute(coco[0]) if len(inputs) == 1 and coco else None,
    )


def _resolve(text: str, image_root: str | None) -> _Enumeration:
    """Find out what an input is, so that a mistyped one fails before anything is listed.

    Raises:
        ConfigError: it does not exist.
    """
    uri = absolute(text)
    storage = storage_for(uri)
    if storage.is_folder(uri):
        return partial(inputs_files.in_folder, uri)
    info = storage.stat(uri)
    if info is None:
        if not is_pattern(uri):
            raise ConfigError(f"input {text!r} does not exist")
        is_archive = _extension(uri) in inputs_archive.READERS
        return partial(inputs_files.in_archives if is_archive else inputs_files.matching, uri)
    # Opened once, so that a missing permission is an error of the command and not of every item.
    storage.read_range(uri, 0, 1)
    kind = _extension(uri)
    if kind in inputs_archive.READERS:
        return partial(inputs_archive.READERS[kind], info)
    if kind == "json":
        return partial(inputs_coco.in_coco_file, uri, image_root)
    if kind == "txt":
        return partial(inputs_files.in_list, uri)
    return partial(inputs_files.single, info)


def _is_coco(text: str) -> bool:
    uri = absolute(text)
    return _extension(uri) == "json" and storage_for(uri).stat(uri) is not None


def _extension(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition(".")[2].lower()
