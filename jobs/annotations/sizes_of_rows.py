"""Widths and heights of annotated images that their file does not say, from the rows of a run."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jobs.annotations.coco_json import CocoAnnotations
from jobs.annotations.join import RunJoin
from jobs.annotations.json_columns import UNKNOWN_SIDE
from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard_reading import iterate_rows

_COLUMNS = ("image_id", "width", "height")


def with_sizes_of_rows(
    annotations: CocoAnnotations, run: RunDirectory, join: RunJoin
) -> CocoAnnotations:
    """Fill in the sizes that a file does not say; those of images without a row stay unknown.

    No row is read where the file says all sizes.
    """
    is_unknown = annotations.image_sizes == UNKNOWN_SIDE
    if not is_unknown.any():
        return annotations
    joined = [
        (part.image_ids.tolist(), part.annotated_ids.tolist())
        for part in (join.images, join.frames)
    ]
    annotated_ids = {i: own for ids, others in joined for i, own in zip(ids, others, strict=True)}
    places = {image_id: place for place, image_id in enumerate(annotations.image_ids.tolist())}
    found = np.full_like(annotations.image_sizes, UNKNOWN_SIDE)
    for table in iterate_rows(run, columns=_COLUMNS):
        for image_id, width, height in zip(
            *(table.column(name).to_pylist() for name in _COLUMNS), strict=True
        ):
            annotated_id = annotated_ids.get(image_id)
            if annotated_id is not None and width is not None and height is not None:
                found[places[annotated_id]] = width, height
    sizes = np.where(is_unknown, found, annotations.image_sizes)
    return replace(annotations, image_sizes=sizes)
