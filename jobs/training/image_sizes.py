"""Widths and heights of images that an annotation file does not say, from the images themselves."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from fcos_core.errors import ImageError
from jobs.annotations.coco_json import CocoAnnotations, CocoImage
from jobs.annotations.json_columns import UNKNOWN_SIDE
from jobs.inputs.coco import find_image
from jobs.media.image.decode import image_size
from jobs.storage import UnreadableError, absolute, storage_for


def with_image_sizes(
    annotations: CocoAnnotations, folder: str, *, num_threads: int
) -> CocoAnnotations:
    """Fill in the sizes that a file does not say; a size that it says stays, right or wrong.

    Files are read whole, since some formats have the orientation at their end. An image that cannot
    be read keeps its unknown size: the check before the first step refuses it or leaves it out.

    Raises:
        StorageError: the storage fails.
    """
    is_unknown = annotations.image_sizes == UNKNOWN_SIDE
    rows = np.flatnonzero(is_unknown.any(axis=1))
    if not len(rows):
        return annotations
    images = annotations.images
    assert len(images) == len(annotations.image_ids)
    with ThreadPoolExecutor(num_threads, thread_name_prefix="sizes") as pool:
        read = partial(_read_size, absolute(folder))
        found: Sequence[tuple[int, int]] = list(pool.map(read, (images[row] for row in rows)))
    sizes = annotations.image_sizes.copy()
    sizes[rows] = np.where(is_unknown[rows], found, sizes[rows])
    return replace(annotations, image_sizes=sizes)


def _read_size(folder: str, described: CocoImage) -> tuple[int, int]:
    uri, _ = find_image(folder, described.file_name)
    try:
        height, width = image_size(storage_for(uri).read(uri), place=uri)
    except (ImageError, UnreadableError):
        return UNKNOWN_SIDE, UNKNOWN_SIDE
    return width, height
