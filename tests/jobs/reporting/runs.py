"""Runs written without ``detect``, for tests of their report."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jobs.rundir.directory import RunDirectory
from jobs.rundir.record import Category, RunRecord
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.shard_writing import commit_shard, encode_shard

RUN_ID = "run-of-a-test"
WIDTH, HEIGHT = 96, 64
CATEGORIES = {1: "cat", 3: "dog"}
Detection = tuple[int, float, tuple[float, float, float, float]]  # category id, score, xyxy


def found(item: int, uri: str, detections: Sequence[Detection], **others: Any) -> Row:
    """The row of an image with status ok."""
    return Row.ok(
        item_id=item,
        image_id=item + 1,
        uri=uri,
        width=others.pop("width", WIDTH),
        height=others.pop("height", HEIGHT),
        category_ids=[category_id for category_id, _, _ in detections],
        scores=[score for _, score, _ in detections],
        boxes=[box for _, _, box in detections],
        **others,
    )


def quarantined(
    item: int, uri: str, error: str = "truncated", error_class: str = "ImageError"
) -> Row:
    """The row of an image that could not be used."""
    return Row.quarantined(
        item_id=item, image_id=item + 1, uri=uri, error_class=error_class, error=error
    )


def write_run(
    folder: Path,
    rows: Sequence[Row],
    *,
    categories: Mapping[int, str] = CATEGORIES,
    shard_size: int = 2,
    without: Sequence[int] = (),
) -> RunDirectory:
    """Write a run of these rows; leave out the shards ``without``."""
    run = RunDirectory(str(folder))
    items = [
        ManifestItem(
            item_id=row.item_id,
            shard=row.item_id // shard_size,
            kind="image" if row.frame_index is None else "video_segment",
            uri=row.uri,
            image_id=row.image_id,
            first_frame=row.frame_index,
            num_frames=None if row.frame_index is None else 1,
        )
        for row in rows
    ]
    run.create_manifest(items_to_table(items), {"run_id": RUN_ID, "fingerprint": "f"})
    run.create_run_record(
        RunRecord(
            run_id=RUN_ID,
            fingerprint="f",
            fingerprint_fields={},
            config={"score_threshold": 0.05, "weights": "demo", "inputs": ["/images"]},
            versions={"torch": "9.9"},
            weights_sha256="5" * 64,
            preset="improved",
            categories=tuple(Category(id=id_, name=name) for id_, name in categories.items()),
            device="cpu of a test",
            settings={"batch_size": 4},
            created_at=datetime(2025, 1, 1, tzinfo=UTC),
        )
    )
    for shard, first in enumerate(range(0, len(rows), shard_size)):
        if shard not in without:
            data = encode_shard(rows[first : first + shard_size], run_id=RUN_ID, shard=shard)
            assert commit_shard(run, shard, data)
    return run


def write_annotations(
    path: Path,
    rows: Sequence[Row],
    boxes: Sequence[tuple[int, int, tuple[float, float, float, float]]],
    *,
    categories: Mapping[int, str] = CATEGORIES,
) -> str:
    """Annotate the images of some rows; boxes are image id, category id and xywh."""
    document = {
        "images": [
            {
                "id": row.image_id,
                "file_name": Path(row.uri).name,
                "width": row.width or WIDTH,
                "height": row.height or HEIGHT,
            }
            for row in rows
        ],
        "annotations": [
            {"id": n + 1, "image_id": image_id, "category_id": category_id, "bbox": box}
            for n, (image_id, category_id, box) in enumerate(boxes)
        ],
        "categories": [{"id": id_, "name": name} for id_, name in categories.items()],
    }
    path.write_text(json.dumps(document))
    return str(path)


def write_image(path: Path, *, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> None:
    """Write noise, which no JPEG makes small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".jpg", pixels)
    path.write_bytes(data.tobytes())
