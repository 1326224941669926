"""Images and videos that are files of their own, in a folder, by a pattern or in a list; archives.

A folder or pattern takes the files that are named like an image or a video, and counts the others
as skipped; archives among them are named. Hidden files and folders are ignored and not counted. A
file that is named, on the command line or in a list, is always an item; a packed one on the command
line is refused.
"""

from __future__ import annotations

import logging
import os
import reprlib
from collections.abc import Iterator
from itertools import chain

from fcos_core.errors import ConfigError, DataError
from jobs.inputs.item import InputItem, item_by_content, item_by_name, referenced_item
from jobs.inputs.parquet_images import enumerate_rows
from jobs.inputs.tar_images import enumerate_members
from jobs.media.extensions import extension_of, is_image_name, is_video_name
from jobs.storage import (
    ObjectInfo,
    folder_of,
    is_local,
    local_path,
    resolve_reference,
    storage_for,
)
from jobs.storage.chunks import HashedChunks
from jobs.storage.member_uri import container_kind
from jobs.storage.packing import EXTENSIONS, HEAD_BYTES, packing_of
from jobs.storage.patterns import is_hidden

_log = logging.getLogger(__name__)

_MAX_LINE_BYTES = 2**20
_BYTE_ORDER_MARK = "\ufeff"


def enumerate_file(info: ObjectInfo) -> Iterator[InputItem]:
    """Take a file that a user named.

    Yields:
        One item.

    Raises:
        ConfigError: it is a packed file, and not named like an image or a video.
    """
    if not _is_media(info):
        head = storage_for(info.uri).read_range(info.uri, 0, HEAD_BYTES, info.version)
        packing = packing_of(head)
        if packing is not None:
            raise ConfigError(f"input {info.uri!r} is {packing}: unpack it first")
    yield item_by_content(info)


def enumerate_folder(uri: str) -> Iterator[InputItem | None]:
    """Search a folder at any depth: its images and videos, by uri; None for each other file."""
    return _media(_visible(uri), uri)


def enumerate_pattern(pattern: str) -> Iterator[InputItem | None]:
    """Take the files that match ``*``, ``?``, ``[...]`` and ``**``, the last for any depth.

    Gives the images and videos among them, by uri of the file, and None for each other file. A
    ``ConfigError`` says that no file matches.
    """
    return _media(_at_least_one(pattern), pattern)


def enumerate_archive(
    info: ObjectInfo, image_column: str | None = None
) -> Iterator[InputItem | None]:
    """Take the images of a tar archive, or of a Parquet file's image column.

    Yields:
        Items in the file's order; None for each member that is no image or has no content.

    Raises:
        ConfigError: the file cannot be read.
    """
    is_tar = container_kind(info.uri) == "tar"
    try:
        yield from enumerate_members(info) if is_tar else enumerate_rows(info, image_column)
    except DataError as error:
        raise ConfigError(f"input {error}") from error


def enumerate_archives(pattern: str, image_column: str | None = None) -> Iterator[InputItem | None]:
    """Take the images of all archives that match a pattern.

    Yields:
        Items by uri of the archive and in its order; None as ``enumerate_archive`` does.

    Raises:
        ConfigError: no file matches, or one cannot be read.
    """
    for info in sorted(_at_least_one(pattern), key=lambda info: os.fsencode(local_path(info.uri))):
        yield from enumerate_archive(info, image_column)


def enumerate_list(uri: str) -> Iterator[InputItem]:
    """Read a list: a path or uri per line, relative to the list's own folder.

    A line ends at LF, CR LF, or CR in a list without LF; all else may be part of a name. Blank
    lines and lines that begin with ``#`` are ignored, and so are spaces and tabs around a name. A
    file that is missing is an item nevertheless, and so is ``<archive>#<member>``. A line that is
    not UTF-8 must be the name of a file, byte for byte.

    Yields:
        Items in the order of the lines.

    Raises:
        ConfigError: a line is not UTF-8 and no file's name, or names a folder.
    """
    folder = folder_of(uri)
    for number, line in enumerate(_lines(uri), start=1):
        name = line.strip(" \t")
        if not name.strip() or name.startswith("#"):
            continue
        place = f"{uri}, line {number}"
        _require_name(name, folder, place)
        yield referenced_item(name, folder, place=place)


def _lines(uri: str) -> Iterator[str]:
    """Read the lines of a list, a chunk of it in memory at a time.

    Yields:
        Each line; bytes that are no UTF-8 are surrogates.

    Raises:
        ConfigError: a line is longer than any name.
    """
    has_line_feed = any(b"\n" in chunk for chunk in HashedChunks(uri))
    end, ending = (b"\n", b"\r") if has_line_feed else (b"\r", b"")
    number, rest = 0, b""
    for chunk in chain(HashedChunks(uri), [end]):
        *lines, rest = (rest + chunk).split(end)
        for line in lines:
            number += 1
            text = line.removesuffix(ending).decode(errors="surrogateescape")
            yield text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text
        if len(rest) > _MAX_LINE_BYTES:
            raise ConfigError(f"{uri}, line {number + 1}: over {_MAX_LINE_BYTES} bytes, no name")


def _require_name(name: str, folder: str, place: str) -> None:
    """Refuse a line that is not UTF-8, unless it is the name of a file, byte for byte.

    Raises:
        ConfigError: there is no such file.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = reprlib.repr(os.fsencode(name))
        known = "not a list in UTF-8, and no file"
        if not is_local(folder) or "\0" in name:
            raise ConfigError(f"{place}: {shown} is {known}") from error
        uri = resolve_reference(folder, name)
        if storage_for(uri).stat(uri) is None:
            raise ConfigError(f"{place}: {shown} is {known} has this name") from error


def _at_least_one(pattern: str) -> Iterator[ObjectInfo]:
    found = storage_for(pattern).glob(pattern)
    first = next(found, None)
    if first is None:
        raise ConfigError(f"no file matches {pattern!r}")
    yield first
    yield from found


def _media(found: Iterator[ObjectInfo], place: str) -> Iterator[InputItem | None]:
    num_archives, first = 0, ""
    for info in found:
        yield item_by_name(info) if _is_media(info) else None
        if container_kind(info.uri) is not None or extension_of(info.uri) in EXTENSIONS:
            num_archives, first = num_archives + 1, first or info.uri
    if num_archives:
        _log.warning(
            "%s: %d archives are skipped, the first is %s: give a tar or Parquet file as an input "
            "of its own, and unpack others",
            *(place, num_archives, first),
        )


def _is_media(info: ObjectInfo) -> bool:
    return is_image_name(info.uri) or is_video_name(info.uri)


def _visible(folder: str) -> Iterator[ObjectInfo]:
    # Without what is hidden below the folder; the folder itself may be hidden.
    start = len(local_path(folder).rstrip("/")) + 1
    for info in storage_for(folder).list(folder):
        if not is_hidden(local_path(info.uri)[start:]):
            yield info
