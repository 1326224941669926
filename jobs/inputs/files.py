"""Images and videos that are files of their own: named, in a folder, of a pattern or in a list.

A folder or pattern takes what is named like one and skips the rest; hidden files and folders
are passed over without being counted. A file that is named, itself or in a list, is always an item.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from fcos_core.errors import ConfigError
from jobs.inputs import archives as inputs_archive
from jobs.inputs.item import InputItem, Tally, explicit_item, item_of, named_item
from jobs.media.extensions import is_image_name, is_video_name
from jobs.storage import ObjectInfo, storage_for


def single(info: ObjectInfo, tally: Tally) -> Iterator[InputItem]:
    """Take a file that was named.

    Yields:
        Its item.
    """
    del tally
    yield explicit_item(info)


def in_folder(uri: str, tally: Tally) -> Iterator[InputItem]:
    """Search a folder at any depth.

    Yields:
        Its images and videos, by uri.
    """
    yield from _media(_visible(uri), tally)


def matching(pattern: str, tally: Tally) -> Iterator[InputItem]:
    """Take the files that match ``*``, ``?``, ``[...]`` and ``**``, the last for any depth.

    Yields:
        Their images and videos, by uri of the file.

    Raises:
        ConfigError: no file matches.
    """
    found = storage_for(pattern).matching(pattern)
    yield from _media(_at_least_one(found, pattern), tally)


def in_archives(pattern: str, tally: Tally) -> Iterator[InputItem]:
    """Take what is in the archives that a pattern asks for by their extension.

    Yields:
        Their images, by uri of the archive and in its order.

    Raises:
        ConfigError: no file matches.
    """
    read = inputs_archive.READERS[pattern.rpartition(".")[2].lower()]
    found = sorted(storage_for(pattern).matching(pattern), key=lambda info: os.fsencode(info.uri))
    for info in _at_least_one(iter(found), pattern):
        yield from read(info, tally)


def in_list(uri: str, tally: Tally) -> Iterator[InputItem]:
    """Read a list: a path or uri per line, relative to the list's own folder.

    Blank lines and those that begin with ``#`` are passed over; space around a name is not part of
    it. A file that is missing is an item all the same, and so is ``<archive>#<member>``.

    Yields:
        Items in the order of the lines.

    Raises:
        ConfigError: the list is not UTF-8, or a line names a folder.
    """
    del tally
    folder = uri.rpartition("/")[0] or "/"
    try:
        lines = storage_for(uri).read(uri).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{uri}: not a list in UTF-8: {error}") from error
    for number, text in enumerate(lines, start=1):
        name = text.strip()
        if not name or name.startswith("#"):
            continue
        yield named_item(name, folder, place=f"{uri}, line {number}")


def _at_least_one(found: Iterator[ObjectInfo], pattern: str) -> Iterator[ObjectInfo]:
    first = next(found, None)
    if first is None:
        raise ConfigError(f"no file matches {pattern!r}")
    yield first
    yield from found


def _media(found: Iterator[ObjectInfo], tally: Tally) -> Iterator[InputItem]:
    for info in found:
        if is_image_name(info.uri) or is_video_name(info.uri):
            yield item_of(info)
        else:
            tally.skipped += 1


def _visible(folder: str) -> Iterator[ObjectInfo]:
    """List a folder without what is hidden below it; the folder itself may be hidden.

    Yields:
        Files by uri.
    """
    start = len(folder.rstrip("/"))
    for info in storage_for(folder).list(folder):
        if "/." not in info.uri[start:]:
            yield info
