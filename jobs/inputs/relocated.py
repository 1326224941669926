"""Where a run's sources lie now: where they lay, or below another folder."""

from __future__ import annotations

import re
from collections.abc import Callable

from fcos_core.errors import ImageError
from jobs.inputs.item_bytes import fetch
from jobs.rundir.rows import ManifestItem, Row
from jobs.storage import absolute, join, storage_for

Read = Callable[[Row], bytes]
"""Gives the file of a row's image."""

_MEMBER = re.compile(r"\.(?:tar|tar\.gz|tgz)#", re.IGNORECASE)


def reader(image_root: str | None) -> Read:
    """Make what reads the file of a row's image.

    Args:
        image_root: a folder with the images, where they do not lie where the run found them.
    """
    if image_root is None:
        return _read
    root = absolute(image_root)

    def read(row: Row) -> bytes:
        uri = located(row.uri, root)
        return storage_for(uri).read(uri)

    return read


def located(uri: str, root: str) -> str:
    """Find a source below a folder: the longest end of its uri that is a file in there.

    Args:
        uri: as the run found it.
        root: uri of the folder.

    Raises:
        ImageError: there is none.
    """
    path = _MEMBER.split(uri)[-1]
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    for start in range(len(parts)):
        candidate = join(root, *parts[start:])
        if storage_for(candidate).stat(candidate) is not None:
            return candidate
    raise ImageError(f"{uri}: not below --image-root {root!r}")


def _read(row: Row) -> bytes:
    return fetch(
        ManifestItem(item_id=row.item_id, shard=0, kind="image", uri=row.uri, image_id=row.image_id)
    )
