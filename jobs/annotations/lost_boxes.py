"""The boxes that a rule does not recall, as a Parquet file."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fcos_core.metrics.bpr.structures import Cause, Shadows
from jobs.annotations.coco_json import CocoAnnotations
from jobs.annotations.json_columns import Int64Array
from jobs.rundir.schemas import LOST_BOXES


@dataclass(frozen=True)
class LostBoxes:
    """What one rule does not recall.

    Attributes:
        rule: its name.
        index: place of each lost box among the file's boxes, in the order of the file's images.
        causes: a value of ``Cause`` for each.
        num_candidates: of each, on all levels.
        shadows: of the shadowed ones: ``lost`` counts the entries of ``index`` and rises,
            ``takers`` are among the file's boxes.
    """

    rule: str
    index: Int64Array
    causes: Int64Array
    num_candidates: Int64Array
    shadows: Shadows


def encode_lost_boxes(lost: Sequence[LostBoxes], annotations: CocoAnnotations) -> bytes:
    """Write one row per rule and lost box as a Parquet file in memory."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, LOST_BOXES, compression="zstd", write_page_checksum=True) as writer:
        for part in lost:
            writer.write_table(_table(part, annotations))
    return sink.getvalue().to_pybytes()


def _table(lost: LostBoxes, annotations: CocoAnnotations) -> pa.Table:
    index = lost.index
    boxes = annotations.boxes[index]
    names = np.array([cause.name.lower() for cause in Cause])
    # Every pair stands behind those of the lost boxes before it.
    offsets = np.searchsorted(lost.shadows.lost, np.arange(len(index) + 1)).astype(np.int32)
    takers = annotations.ids[lost.shadows.takers]
    columns = {
        "rule": np.full(len(index), lost.rule),
        "image_id": annotations.box_image_ids[index],
        "annotation_id": annotations.ids[index],
        "category_id": annotations.box_category_ids[index],
        **{name: boxes[:, i] for i, name in enumerate(("x", "y", "width", "height"))},
        "cause": names[lost.causes],
        "num_candidates": lost.num_candidates,
    }
    arrays = [pa.array(columns[name], LOST_BOXES.field(name).type) for name in columns]
    taken_by = pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(takers), type=LOST_BOXES.field("taken_by").type
    )
    return pa.Table.from_arrays([*arrays, taken_by], schema=LOST_BOXES)
