"""Seeded annotations and detections of any size: as COCO files, or as a run directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from evaluate.coco_like import write_coco_like

from jobs.annotations.coco_json import load_annotations
from jobs.rundir.directory import RunDirectory
from jobs.rundir.record import Category, RunRecord
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.shard_writing import commit_shard, encode_shard

_NUM_CATEGORIES = 80
_IMAGES_PER_SHARD = 5_000
_RIGHT_CLASS = 0.4
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def write_pair(
    folder: Path, num_images: int, *, per_image: int = 100, seed: int = 0
) -> tuple[Path, Path]:
    """Write annotations and results as COCO json.

    Args:
        folder: is made.
        num_images: how many.
        per_image: detections of each.
        seed: of everything.
    """
    folder.mkdir(parents=True)
    truth, results = folder / "annotations.json", folder / "results.json"
    write_coco_like(truth, num_images, seed=seed)
    with results.open("w", encoding="utf-8") as file:
        file.write("[")
        comma = ""
        for image_id, _, categories, boxes, scores in _detections(truth, per_image, seed):
            for category, box, score in zip(
                categories.tolist(), boxes.tolist(), scores.tolist(), strict=True
            ):
                entry = {
                    "image_id": image_id, "category_id": category, "bbox": box, "score": score,
                }  # fmt: skip
                file.write(comma + json.dumps(entry))
                comma = ","
        file.write("]")
    return truth, results


def write_run(
    folder: Path, num_images: int, *, per_image: int = 50, seed: int = 0
) -> tuple[Path, Path]:
    """Write annotations and a run directory as ``fcos detect`` leaves it.

    Args:
        folder: is made.
        num_images: how many.
        per_image: detections of each.
        seed: of everything.
    """
    folder.mkdir(parents=True)
    truth = folder / "annotations.json"
    write_coco_like(truth, num_images, seed=seed, with_polygons=False)
    run = RunDirectory(str(folder / "RUN"))
    items = [
        ManifestItem(
            item_id=i,
            shard=i // _IMAGES_PER_SHARD,
            kind="image",
            uri=f"/data/{i + 1:012}.jpg",
            image_id=i + 1,
        )
        for i in range(num_images)
    ]
    run.create_manifest(items_to_table(items), {"run_id": "r1", "fingerprint": "f"})
    run.create_run_record(
        RunRecord(
            run_id="r1",
            fingerprint="f",
            fingerprint_fields={},
            config={},
            versions={},
            weights_sha256="0" * 64,
            preset="torchvision",
            categories=tuple(
                Category(id=i + 1, name=f"category {i + 1}") for i in range(_NUM_CATEGORIES)
            ),
            device="cpu",
            created_at=datetime.now(UTC),
            input_annotations=str(truth),
        )
    )
    rows: list[Row] = []
    for image_id, size, categories, boxes, scores in _detections(truth, per_image, seed):
        width, height = size
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        item = items[image_id - 1]
        rows.append(
            Row.ok(
                item_id=item.item_id,
                image_id=image_id,
                uri=item.uri,
                width=width,
                height=height,
                boxes=corners,
                scores=scores,
                category_ids=categories,
            )
        )
        if len(rows) == _IMAGES_PER_SHARD or image_id == num_images:
            commit_shard(run, item.shard, encode_shard(rows, run_id="r1", shard=item.shard))
            rows = []
    return Path(run.uri), truth


def _detections(
    truth: Path, per_image: int, seed: int
) -> Iterator[tuple[int, list[int], Integers, Floats, Floats]]:
    """Make detections near true boxes, many of the wrong class.

    Yields:
        Image id, width and height, categories, boxes and falling scores of each image.
    """
    random = np.random.default_rng(seed)
    annotations = load_annotations(str(truth), names="none")
    sizes = annotations.image_sizes.tolist()
    bounds = np.searchsorted(annotations.image_index, np.arange(len(annotations.image_ids) + 1))
    for i, image_id in enumerate(annotations.image_ids.tolist()):
        first, last = bounds[i : i + 2].tolist()
        own = annotations.boxes[first:last]
        pick = random.integers(0, len(own), per_image)
        scale = np.minimum(own[pick, 2:].min(axis=1), 60)[:, None] * 0.15
        boxes = own[pick] + random.normal(0, 1, (per_image, 4)) * scale
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
        labels = annotations.labels[first:last][pick] + 1
        strangers = random.integers(1, _NUM_CATEGORIES + 1, per_image)
        categories = np.where(random.random(per_image) < _RIGHT_CLASS, labels, strangers)
        scores = np.sort(np.round(random.random(per_image), 3))[::-1]
        yield image_id, sizes[i], categories, np.round(boxes, 2), scores
