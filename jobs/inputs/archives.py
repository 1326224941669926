"""Images inside archives: ``<archive>#<member>`` in WebDataset tars, ``<file>#<row>`` in Parquet.

How ``fetch`` finds them again: a uri is first taken for a plain file, ``#`` and all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fcos_core.errors import ConfigError, DataError
from jobs.inputs.item import InputItem, Tally, named_item
from jobs.inputs.parquet_images import ParquetImages
from jobs.inputs.tar_index import read_tar_index
from jobs.media.extensions import is_image_name
from jobs.storage import ObjectInfo


def in_tar(info: ObjectInfo, tally: Tally) -> Iterator[InputItem]:
    """Take an archive's members that are named like an image, and skip the rest.

    Yields:
        Items in the archive's order.

    Raises:
        ConfigError: it cannot be read as a tar archive.
    """
    try:
        members = read_tar_index(info)
    except DataError as error:
        raise ConfigError(f"input {error}") from error
    for name, member in members.items():
        if "/." in f"/{name.removeprefix('./')}":  # hidden
            continue
        if not is_image_name(name):
            tally.skipped += 1
            continue
        yield InputItem(
            uri=f"{info.uri}#{name}",
            size_bytes=member.size_bytes,
            mtime_ns=info.mtime_ns,
            etag=info.etag,
        )


def in_parquet(info: ObjectInfo, tally: Tally) -> Iterator[InputItem]:
    """Take an image per row: of a column of bytes if there is one, otherwise of ``uri``.

    A relative path in ``uri`` is relative to the file's own folder.

    Yields:
        Items in the order of the rows.

    Raises:
        ConfigError: it is no Parquet file, has neither column, or a uri is null.
    """
    del tally
    try:
        images = ParquetImages(info)
        if images.bytes_column is None:
            yield from _referenced(images, info.uri)
            return
    except DataError as error:
        raise ConfigError(f"input {error}") from error
    for row in range(images.num_rows):
        yield InputItem(uri=f"{info.uri}#{row}", mtime_ns=info.mtime_ns, etag=info.etag)


def _referenced(images: ParquetImages, uri: str) -> Iterator[InputItem]:
    folder = uri.rpartition("/")[0] or "/"
    for row, name in enumerate(images.uris()):
        place = f"{uri}, row {row}"
        if not name:
            raise ConfigError(f"{place}: uri is {name!r}")
        yield named_item(name, folder, place=place)


READERS: dict[str, Callable[[ObjectInfo, Tally], Iterator[InputItem]]] = {
    "tar": in_tar,
    "parquet": in_parquet,
}
"""By extension in lower case."""
