"""The only place with column names, types and units of every table, and the fields of a footer."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Literal, cast, get_args

import pyarrow as pa

SCHEMA_VERSION = 3
"""Rises when a column, its meaning, the digest's layout or a footer field changes."""

DigestClass = Literal["exact", "tolerance"]
Status = Literal["ok", "quarantined"]
Kind = Literal["image", "video_segment"]

COORDINATES = ("x_min", "y_min", "x_max", "y_max")
"""The columns of a box, xyxy."""

_Unit = Literal["px", "s", "ns", "byte", "tick"]


def _field(
    name: str,
    kind: pa.DataType,
    about: str,
    *,
    unit: _Unit | None = None,
    nullable: bool = False,
) -> pa.Field:
    metadata = {"about": about} if unit is None else {"about": about, "unit": unit}
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


DETECTION = pa.struct(
    [
        _field("category_id", pa.int32(), "COCO category id"),
        _field("category_name", pa.string(), "the name that run.json gives this category"),
        _field("score", pa.float32(), "0 to 1"),
        _field("x_min", pa.float32(), "left side", unit="px"),
        _field("y_min", pa.float32(), "top side", unit="px"),
        _field("x_max", pa.float32(), "right side", unit="px"),
        _field("y_max", pa.float32(), "bottom side", unit="px"),
    ]
)
"""One detected object: continuous coordinates of the upright original, x right, y down."""

DETECTIONS = pa.schema(
    [
        _field("item_id", pa.int64(), "row of the manifest this came from, from 0"),
        _field("image_id", pa.int64(), "COCO image id, or a number unique in this run"),
        _field("uri", pa.string(), "absolute local path or s3://bucket/key, not percent-encoded"),
        _field(
            "frame_index",
            pa.int32(),
            "place in presentation order, from 0; null for stills",
            nullable=True,
        ),
        _field(
            "last_frame",
            pa.int32(),
            "last of the frames that a quarantined row of a video stands for; null otherwise",
            nullable=True,
        ),
        _field(
            "timestamp_s",
            pa.float64(),
            "presentation time; null for stills",
            nullable=True,
            unit="s",
        ),
        _field("width", pa.int32(), "upright; null if unknown", nullable=True, unit="px"),
        _field("height", pa.int32(), "upright; null if unknown", nullable=True, unit="px"),
        _field("status", pa.string(), "ok or quarantined"),
        _field("error_class", pa.string(), "class of the error; null when ok", nullable=True),
        _field("error", pa.string(), "message of the error; null when ok", nullable=True),
        _field(
            "note",
            pa.string(),
            "damage that the decoder mended without a guess; null when there is none",
            nullable=True,
        ),
        _field(
            "detections",
            pa.list_(pa.field("element", DETECTION, nullable=False)),
            "by falling score; null when quarantined",
            nullable=True,
        ),
    ]
)
"""One row per image or video frame; frames that are lost together share one."""

MANIFEST = pa.schema(
    [
        _field("item_id", pa.int64(), "row number, from 0"),
        _field("shard", pa.int32(), "the shard that computes it; never falls from row to row"),
        _field("kind", pa.string(), "image or video_segment"),
        _field("uri", pa.string(), "absolute local path or s3://bucket/key, not percent-encoded"),
        _field("image_id", pa.int64(), "of the image, or of the segment's first frame"),
        _field("width", pa.int32(), "upright; null if unknown", nullable=True, unit="px"),
        _field("height", pa.int32(), "upright; null if unknown", nullable=True, unit="px"),
        _field(
            "size_bytes", pa.int64(), "of the object; null if unknown", nullable=True, unit="byte"
        ),
        _field("etag", pa.string(), "version mark of the object", nullable=True),
        _field("mtime_ns", pa.int64(), "last change, since 1970", nullable=True, unit="ns"),
        _field("stream", pa.int32(), "index of the video stream in its file", nullable=True),
        _field(
            "time_base_num", pa.int32(), "numerator of the stream's tick", nullable=True, unit="s"
        ),
        _field("time_base_den", pa.int32(), "denominator of the tick", nullable=True),
        _field("first_frame", pa.int32(), "frame_index of the first frame", nullable=True),
        _field(
            "num_frames", pa.int32(), "frames of this segment that are looked at", nullable=True
        ),
        _field("start_pts", pa.int64(), "of the first frame", nullable=True, unit="tick"),
        _field("end_pts", pa.int64(), "of the last frame", nullable=True, unit="tick"),
        _field("decode_from_pts", pa.int64(), "key frame to start at", nullable=True, unit="tick"),
        _field("sampling", pa.string(), "which frames are looked at", nullable=True),
        _field("problem", pa.string(), "why a video cannot be used; null if it can", nullable=True),
    ]
)
"""One row per item: an image, or a segment of a video."""

MANIFEST_INDEX = pa.schema(
    [
        _field("shard", pa.int32(), "the shard's number"),
        _field("part", pa.int32(), "number of the part of the manifest that holds its items"),
        _field("first_item_id", pa.int64(), "its first item"),
        _field("num_items", pa.int32(), "items of the shard, which follow each other"),
        _field("num_rows", pa.int32(), "images and frames that these items plan"),
    ]
)
"""One row per shard of a begun or extended run; the parts are named in the footer."""

SUPERSEDED = pa.schema(
    [
        _field("item_id", pa.int64(), "an item whose object has another version or is gone"),
        _field("shard", pa.int32(), "the shard that holds it"),
        _field("is_replaced", pa.bool_(), "whether a newer item takes its place"),
    ]
)
"""One row per item that an extension found changed or vanished, by rising item_id."""

_METRICS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip

METRICS_PER_CATEGORY = pa.schema(
    [
        _field("category_id", pa.int64(), "COCO category id of the annotation file"),
        _field("name", pa.string(), "name of the category in the annotation file"),
        _field("num_objects", pa.int64(), "scored ground-truth boxes that are no crowds"),
        _field("num_detections", pa.int64(), "detections on the scored images"),
        _field(
            "best_threshold",
            pa.float64(),
            "score with the largest F1 at IoU 0.5; null without objects or detections",
            nullable=True,
        ),
        _field("best_f1", pa.float64(), "F1 at that score", nullable=True),
        _field("precision", pa.float64(), "at that score", nullable=True),
        _field("recall", pa.float64(), "at that score", nullable=True),
        *(_field(name, pa.float64(), "as COCO defines it; -1 if undefined") for name in _METRICS),
    ]
)
"""One row per category of the annotation file, by rising id: how well it is detected."""

METRICS_PER_AREA = pa.schema(
    [
        _field("category_id", pa.int64(), "COCO category id; null: all together", nullable=True),
        _field("name", pa.string(), "name of the category; null: all together", nullable=True),
        _field("area", pa.string(), "all, small, medium or large: COCO's ranges, ends included"),
        _field("num_objects", pa.int64(), "boxes to find in this range"),
        _field("AP", pa.float64(), "mean over IoU 0.5 to 0.95; -1 without such boxes"),
        _field("AP50", pa.float64(), "at IoU 0.5; -1 without such boxes"),
        _field("AP75", pa.float64(), "at IoU 0.75; -1 without such boxes"),
        _field("AR100", pa.float64(), "average recall; -1 without such boxes"),
    ]
)
"""Four rows over all categories, then four of each by rising id: how sizes are detected."""

CONFUSION = pa.schema(
    [
        _field("true_category_id", pa.int64(), "of the boxes; null: no box there", nullable=True),
        _field("true_name", pa.string(), "its name", nullable=True),
        _field(
            "predicted_category_id",
            pa.int64(),
            "of the detections that take them; null: the boxes are missed",
            nullable=True,
        ),
        _field("predicted_name", pa.string(), "its name", nullable=True),
        _field("count", pa.int64(), "how many, at least 1"),
        _field("iou", pa.float64(), "from which on a detection takes a box"),
        _field("least_score", pa.float64(), "of the detections that are looked at"),
    ]
)
"""One row per cell of the confusion matrix that is not empty."""

_SHARES = pa.list_(pa.field("element", pa.float64(), nullable=False))

CURVES = pa.schema(
    [
        _field("category_id", pa.int64(), "COCO category id; null: mean over all", nullable=True),
        _field("iou", pa.float64(), "threshold; null: mean over 0.5 to 0.95", nullable=True),
        _field("recall", _SHARES, "0 to 1 in hundredths"),
        _field("precision", _SHARES, "the best at this recall or beyond"),
    ]
)
"""One row per category with objects, and one over all, for each of two IoUs and their mean."""


LOST_BOXES = pa.schema(
    [
        _field("rule", pa.string(), "name of the rule that does not recall the box"),
        _field("image_id", pa.int64(), "COCO image id of the annotation file"),
        _field("annotation_id", pa.int64(), "COCO annotation id"),
        _field("category_id", pa.int64(), "COCO category id of the annotation file"),
        _field("x", pa.float64(), "left side in the original image", unit="px"),
        _field("y", pa.float64(), "top side in the original image", unit="px"),
        _field("width", pa.float64(), "as annotated", unit="px"),
        _field("height", pa.float64(), "as annotated", unit="px"),
        _field(
            "cause",
            pa.string(),
            "no_location, out_of_range, center_empty, shadowed; low_iou for anchors",
        ),
        _field("num_candidates", pa.int64(), "samples that could learn the box, all levels"),
        _field(
            "taken_by",
            pa.list_(pa.field("element", pa.int64(), nullable=False)),
            "annotation ids of the boxes that took the candidates of a shadowed box",
        ),
    ]
)
"""One row per rule and box that the rule does not recall."""


_SHARD_NAME = re.compile(r"shard-(\d{6,})\.parquet")


def shard_name(shard: int) -> str:
    """Name the file of a shard: ``shard-000042.parquet``."""
    return f"shard-{shard:06d}.parquet"


def shard_number(name: str) -> int | None:
    """Read the number from a shard's file name; None when it is not exactly such a name."""
    match = _SHARD_NAME.fullmatch(name)
    if match is None or shard_name(int(match[1])) != name:
        return None
    return int(match[1])


@dataclass(frozen=True, kw_only=True)
class ShardFooter:
    """The description of a shard in the key-value metadata of its file's footer.

    Attributes:
        run_id: the run it belongs to.
        shard: the shard's number; the file's name repeats it.
        first_item_id: item of the first row.
        last_item_id: item of the last row.
        num_rows: number of rows.
        rows_sha256: sha256 of the canonical rows, in hex (``docs/tables.md``).
        digest_class: ``exact``, or ``tolerance`` when the run had to leave bit-for-bit equality.
        schema_version: ``SCHEMA_VERSION`` of the writer.
    """

    run_id: str
    shard: int
    first_item_id: int
    last_item_id: int
    num_rows: int
    rows_sha256: str
    digest_class: DigestClass
    schema_version: int = SCHEMA_VERSION

    def to_metadata(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> ShardFooter:
        """Read the fields from key-value metadata.

        Raises:
            ValueError: a field is missing, or a number is not one.
        """
        missing = [field.name for field in fields(cls) if field.name not in metadata]
        if missing:
            raise ValueError(f"its footer lacks {', '.join(missing)}")
        digest_class = metadata["digest_class"]
        if digest_class not in get_args(DigestClass):
            raise ValueError(f"its footer has the unknown digest_class {digest_class!r}")
        return cls(
            run_id=metadata["run_id"],
            shard=int(metadata["shard"]),
            first_item_id=int(metadata["first_item_id"]),
            last_item_id=int(metadata["last_item_id"]),
            num_rows=int(metadata["num_rows"]),
            rows_sha256=metadata["rows_sha256"],
            digest_class=cast("DigestClass", digest_class),
            schema_version=int(metadata["schema_version"]),
        )
