"""All detections of a run as flat columns, for scoring and export."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.rundir.directory import RunDirectory, ShardListing
from jobs.rundir.schemas import COORDINATES, DETECTIONS
from jobs.rundir.shard_reading import iterate_rows

_COLUMNS = ("image_id", "width", "height", "status", "detections")


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionColumns:
    """The rows and detections of a run, in manifest order.

    Attributes:
        row_image_ids: image id of each row.
        row_widths: width of each row's upright image in pixels; 0 where unknown.
        row_heights: height of each row's upright image in pixels; 0 where unknown.
        row_is_ok: whether each row's status is ok.
        image_ids: image id of each detection.
        category_ids: COCO category id of each detection.
        scores: score of each detection.
        boxes: xyxy of each detection, in pixels of the upright image.
    """

    row_image_ids: npt.NDArray[np.int64]
    row_widths: npt.NDArray[np.int32]
    row_heights: npt.NDArray[np.int32]
    row_is_ok: npt.NDArray[np.bool_]
    image_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]


def read_detection_columns(
    run: RunDirectory, *, listing: ShardListing | None = None
) -> DetectionColumns:
    """Read the committed rows of a run; ``proof.prove`` says whether all rows are committed.

    ``listing`` is of the shards to read; None for all. A detection takes 28 bytes.
    """
    parts = [_flatten(table) for table in iterate_rows(run, columns=_COLUMNS, listing=listing)]
    parts = parts or [_flatten(DETECTIONS.empty_table())]
    return DetectionColumns(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(DetectionColumns)
        }
    )


def _flatten(table: pa.Table) -> DetectionColumns:
    row_image_ids = table.column("image_id").to_numpy()
    lists = table.column("detections").combine_chunks()
    counts = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    elements = lists.flatten()
    statuses = table.column("status").to_pylist()
    sides = [elements.field(name).to_numpy() for name in COORDINATES]
    return DetectionColumns(
        row_image_ids=row_image_ids,
        row_widths=table.column("width").fill_null(0).to_numpy(),
        row_heights=table.column("height").fill_null(0).to_numpy(),
        row_is_ok=np.array([status == "ok" for status in statuses], np.bool_),
        image_ids=np.repeat(row_image_ids, counts),
        category_ids=elements.field("category_id").to_numpy(),
        scores=elements.field("score").to_numpy(),
        boxes=np.stack(sides, axis=1),
    )
