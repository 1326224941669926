"""Reads a run's images from where the run found them, or from another folder they lie in now."""

from __future__ import annotations

from collections.abc import Callable

from fcos_core.errors import ImageError
from jobs.inputs.item_bytes import read_item_bytes
from jobs.rundir.rows import ManifestItem, Row
from jobs.storage import absolute, join, local_path, storage_for
from jobs.storage.member_uri import member_path

ReadImage = Callable[[Row], bytes]
"""Gives the file of a row's image."""


def image_reader(image_root: str | None) -> ReadImage:
    """Make the function that reads the file of a row's image; without a root, where the run did."""
    if image_root is None:
        return _read_in_place
    root = absolute(image_root)

    def read(row: Row) -> bytes:
        uri = relocate(row.uri, root)
        return storage_for(uri).read(uri)

    return read


def relocate(uri: str, root: str) -> str:
    """Find a source below a folder: the longest end of its uri that is a file in the folder.

    The members of a tar archive are looked for as files, by their paths inside the archive, unless
    there is a plain file of that name.

    Raises:
        ImageError: the folder has no such file.
    """
    member = member_path(uri)
    for path in (local_path(uri), *(() if member is None else (member,))):
        parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
        for start in range(len(parts)):
            candidate = join(root, *parts[start:])
            if storage_for(candidate).stat(candidate) is not None:
                return candidate
    raise ImageError(f"{uri}: not below --image-root {root!r}")


def _read_in_place(row: Row) -> bytes:
    return read_item_bytes(
        ManifestItem(item_id=row.item_id, shard=0, kind="image", uri=row.uri, image_id=row.image_id)
    )
