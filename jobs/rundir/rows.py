"""Rows and manifest items as Python objects, and as the Arrow tables they are stored in."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fcos_core.errors import ConfigError
from jobs.rundir.sampled_frames import EVERY_FRAME, read_steps
from jobs.rundir.schemas import COORDINATES, DETECTION, DETECTIONS, MANIFEST, Kind, Status

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """The result of one image or one frame; build it with ``ok`` or ``quarantined``.

    The fields are the columns of ``schemas.DETECTIONS``. ``boxes`` (xyxy in upright original
    pixels, shape (n, 4)), ``scores`` and ``category_ids`` hold the detections by falling score, and
    are empty in a quarantined row.
    """

    item_id: int
    image_id: int
    uri: str
    frame_index: int | None
    last_frame: int | None = None
    timestamp_s: float | None
    width: int | None
    height: int | None
    status: Status
    error_class: str | None
    error: str | None
    note: str | None = None
    boxes: Float32Array
    scores: Float32Array
    category_ids: Int32Array

    @classmethod
    def ok(
        cls,
        *,
        item_id: int,
        image_id: int,
        uri: str,
        width: int,
        height: int,
        boxes: npt.ArrayLike,
        scores: npt.ArrayLike,
        category_ids: npt.ArrayLike,
        frame_index: int | None = None,
        timestamp_s: float | None = None,
        note: str | None = None,
    ) -> Row:
        """Make the row of an image that was used, with or without detections."""
        row = cls(
            item_id=item_id,
            image_id=image_id,
            uri=uri,
            frame_index=frame_index,
            timestamp_s=timestamp_s,
            width=width,
            height=height,
            status="ok",
            error_class=None,
            error=None,
            note=note,
            boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
            scores=np.asarray(scores, np.float32),
            category_ids=np.asarray(category_ids, np.int32),
        )
        assert row.scores.shape == row.category_ids.shape == row.boxes.shape[:1]
        return row

    @classmethod
    def quarantined(
        cls,
        *,
        item_id: int,
        image_id: int,
        uri: str,
        error_class: str,
        error: str,
        width: int | None = None,
        height: int | None = None,
        frame_index: int | None = None,
        last_frame: int | None = None,
        timestamp_s: float | None = None,
    ) -> Row:
        """Make the row of an image that cannot be used, with the reason.

        Characters of the message that UTF-8 cannot encode are escaped, so that the table can hold
        it.
        """
        return cls(
            item_id=item_id,
            image_id=image_id,
            uri=uri,
            frame_index=frame_index,
            last_frame=last_frame,
            timestamp_s=timestamp_s,
            width=width,
            height=height,
            status="quarantined",
            error_class=error_class,
            error=error.encode(errors="backslashreplace").decode(),
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            category_ids=np.zeros(0, np.int32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestItem:
    """One image, or one segment of a video, to be computed.

    The fields are the columns of ``schemas.MANIFEST``; only segments have those after ``mtime_ns``.
    Further frames of a segment count on from its ``image_id``. ``sampling`` is written by
    ``sampled_frames``; ``all`` or None takes every frame. ``problem`` says why a video cannot be
    used.
    """

    item_id: int
    shard: int
    kind: Kind
    uri: str
    image_id: int
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None
    etag: str | None = None
    mtime_ns: int | None = None
    stream: int | None = None
    time_base_num: int | None = None
    time_base_den: int | None = None
    first_frame: int | None = None
    num_frames: int | None = None
    start_pts: int | None = None
    end_pts: int | None = None
    decode_from_pts: int | None = None
    sampling: str | None = None
    problem: str | None = None

    @property
    def last_frame(self) -> int | None:
        """``frame_index`` of a segment's last frame; None for images."""
        return self.frames()[-1]

    def frames(self) -> Sequence[int | None]:
        """List the ``frame_index`` of each planned row; a single None for an image."""
        if self.first_frame is None or self.num_frames is None:
            return (None,)
        if self.sampling is None or self.sampling == EVERY_FRAME:
            return range(self.first_frame, self.first_frame + self.num_frames)
        return read_steps(self.sampling.split(" ")[0], self.first_frame).tolist()


def frames_of_videos(items: Iterable[ManifestItem]) -> dict[str, int]:
    """Count the planned frames of each video among some items, by uri."""
    found = Counter[str]()
    for item in items:
        if item.kind == "video_segment":
            found[item.uri] += item.num_frames or 1
    return dict(found)


def rows_to_table(rows: Sequence[Row], names: Mapping[int, str] | None = None) -> pa.Table:
    """Build the ``DETECTIONS`` table of some rows.

    ``names`` are those of categories, by id; a category without one is named by its id.
    """
    counts = [len(row.scores) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(row.boxes for row in rows)])
    scores = np.concatenate([np.zeros(0, np.float32), *(row.scores for row in rows)])
    category_ids = np.concatenate([np.zeros(0, np.int32), *(row.category_ids for row in rows)])
    elements = pa.StructArray.from_arrays(
        [
            pa.array(category_ids, pa.int32()),
            _category_names(category_ids, names or {}),
            pa.array(scores, pa.float32()),
            *(pa.array(np.ascontiguousarray(boxes[:, i]), pa.float32()) for i in range(4)),
        ],
        fields=list(DETECTION),
    )
    detections = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        elements,
        type=DETECTIONS.field("detections").type,
        mask=pa.array([row.status != "ok" for row in rows], pa.bool_()),
    )
    columns = [
        detections
        if field.name == "detections"
        else pa.array([getattr(row, field.name) for row in rows], field.type)
        for field in DETECTIONS
    ]
    return pa.Table.from_arrays(columns, schema=DETECTIONS)


def _category_names(category_ids: Int32Array, names: Mapping[int, str]) -> pa.Array:
    ids, places = np.unique(category_ids, return_inverse=True)
    texts = [names.get(id_, str(id_)) for id_ in ids.tolist()]
    return pa.array(texts, pa.string()).take(pa.array(places))


def table_to_rows(table: pa.Table) -> list[Row]:
    """Turn a ``DETECTIONS`` table back into rows."""
    plain = table.drop_columns(["detections"]).to_pylist()
    lists = table.column("detections").combine_chunks()
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    elements = lists.flatten()
    named = {
        name: elements.field(name).to_numpy() for name in ("category_id", "score", *COORDINATES)
    }
    boxes = np.stack([named[name] for name in COORDINATES], axis=1)
    return [
        Row(
            **values,
            boxes=boxes[end - length : end],
            scores=named["score"][end - length : end],
            category_ids=named["category_id"][end - length : end],
        )
        for values, length, end in zip(plain, lengths, ends, strict=True)
    ]


def items_to_table(items: Sequence[ManifestItem]) -> pa.Table:
    """Build the ``MANIFEST`` table of some items.

    Raises:
        ConfigError: a uri is not UTF-8 text, which a table cannot hold.
    """
    columns: list[Any] = []
    for field in MANIFEST:
        values = [getattr(item, field.name) for item in items]
        try:
            columns.append(pa.array(values, field.type))
        except UnicodeEncodeError as error:
            raise ConfigError(_first_without_utf8(items)) from error
    return pa.Table.from_arrays(columns, schema=MANIFEST)


def table_to_items(table: pa.Table) -> list[ManifestItem]:
    """Turn a ``MANIFEST`` table back into items."""
    names = [field.name for field in fields(ManifestItem)]
    columns = [table.column(name).to_pylist() for name in names]
    return [
        ManifestItem(**dict(zip(names, values, strict=True)))
        for values in zip(*columns, strict=True)
    ]


def _first_without_utf8(items: Sequence[ManifestItem]) -> str:
    for item in items:
        try:
            item.uri.encode()
        except UnicodeEncodeError:
            return f"item {item.item_id}, {item.uri!r}: the file name is not UTF-8; rename the file"
    return "a text of the manifest is not UTF-8"
