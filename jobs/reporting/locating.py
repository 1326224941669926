"""Where a run's pictures lie now: where they lay, or below another folder."""

from __future__ import annotations

import re

from fcos_core.errors import ImageError
from jobs.reporting.pictures import Read
from jobs.runtime.fetch import fetch
from jobs.storage import absolute, join, storage_for
from jobs.tables.rows import ManifestItem, Row

_MEMBER = re.compile(r"\.(?:tar|tar\.gz|tgz)#", re.IGNORECASE)


def reader(image_root: str | None) -> Read:
    """Make what reads the file of a row's picture.

    Args:
        image_root: a folder with the pictures, where they do not lie where the run found them: the
            longest end of a picture's uri that is a file in there is taken.
    """
    if image_root is None:
        return _read
    root = absolute(image_root)

    def read(row: Row) -> bytes:
        path = _MEMBER.split(row.uri)[-1]
        parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
        for start in range(len(parts)):
            uri = join(root, *parts[start:])
            if storage_for(uri).stat(uri) is not None:
                return storage_for(uri).read(uri)
        raise ImageError(f"{row.uri}: not below --image-root {root!r}")

    return read


def _read(row: Row) -> bytes:
    return fetch(
        ManifestItem(item_id=row.item_id, shard=0, kind="image", uri=row.uri, image_id=row.image_id)
    )
