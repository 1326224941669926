"""Runs and annotations written directly, as ``detect`` leaves them, to be scored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.rundir.directory import RunDirectory
from jobs.rundir.record import Category, RunRecord
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.shard_writing import commit_shard, encode_shard

CATEGORIES = {1: "cat", 2: "N/A", 3: "dog"}

Detection = tuple[int, float, list[float]]  # category id, score, xyxy


@dataclass
class Image:
    """One row of a run; ``detections`` None means quarantined."""

    uri: str
    detections: list[Detection] | None = field(default_factory=list[Detection])
    size: tuple[int, int] = (100, 80)
    image_id: int | None = None


def make_run(
    folder: Path,
    images: list[Image],
    *,
    categories: Mapping[int, str] = CATEGORIES,
    input_annotations: str | None = None,
    without: tuple[int, ...] = (),
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Write a run as ``detect`` leaves it, one image per shard, ``without`` some shards."""
    run = RunDirectory(str(folder / "RUN"))
    items = [
        ManifestItem(item_id=i, shard=i, kind="image", uri=one.uri, image_id=one.image_id or i + 1)
        for i, one in enumerate(images)
    ]
    run.create_manifest(items_to_table(items), {"run_id": "r1", "fingerprint": "f"})
    run.create_run_record(record_of_a_test(categories, settings, input_annotations))
    for item, image in zip(items, images, strict=True):
        if item.shard not in without:
            data = encode_shard([row_of(item, image)], run_id="r1", shard=item.shard)
            assert commit_shard(run, item.shard, data)
    return run.uri


def record_of_a_test(
    categories: Mapping[int, str],
    settings: Mapping[str, Any] | None = None,
    input_annotations: str | None = None,
) -> RunRecord:
    """What ``run.json`` says."""
    return RunRecord(
        run_id="r1",
        fingerprint="f",
        fingerprint_fields={},
        config={"score_threshold": 0.05},
        versions={},
        weights_sha256="0" * 64,
        preset="torchvision",
        categories=tuple(Category(id=id_, name=name) for id_, name in categories.items()),
        device="cpu",
        settings=dict(settings or {}),
        created_at=datetime(2025, 1, 1, tzinfo=UTC),
        input_annotations=input_annotations,
    )


def row_of(item: ManifestItem, image: Image) -> Row:
    names: dict[str, Any] = {"item_id": item.item_id, "image_id": item.image_id, "uri": item.uri}
    if image.detections is None:
        return Row.quarantined(**names, error_class="ImageError", error="truncated")
    width, height = image.size
    found = sorted(image.detections, key=lambda detection: -detection[1])
    return Row.ok(
        **names,
        width=width,
        height=height,
        boxes=[box for _, _, box in found],
        scores=[score for _, score, _ in found],
        category_ids=[category_id for category_id, _, _ in found],
    )


def write_annotations(
    folder: Path,
    images: dict[int, str],
    boxes: list[tuple[int, int, list[float]]],
    *,
    categories: Mapping[int, str] | None = None,
    name: str = "instances.json",
) -> str:
    document = {
        "images": [
            {"id": id_, "file_name": file_name, "width": 100, "height": 80}
            for id_, file_name in images.items()
        ],
        "annotations": [
            {"id": n, "image_id": image_id, "category_id": category_id, "bbox": bbox}
            for n, (image_id, category_id, bbox) in enumerate(boxes)
        ],
        "categories": [
            {"id": id_, "name": label}
            for id_, label in (categories or {1: "cat", 3: "dog"}).items()
        ],
    }
    path = folder / name
    path.write_text(json.dumps(document))
    return str(path)


HIT: Detection = (1, 0.9, [10.0, 10.0, 60.0, 60.0])

CAT_BOX = [10.0, 10.0, 50.0, 50.0]

PERFECT = pytest.approx(1.0, abs=1e-12)  # pycocotools adds a spacing to its denominators
