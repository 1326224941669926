"""Seeded COCO annotation files of any size: sizes, crowding and polygons like COCO's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

_IMAGE_SIZES = ((640, 480), (480, 640), (640, 427), (500, 375))
_NUM_CATEGORIES = 80
_CROWD_SHARE = 0.012
_MEAN_BOXES = 7.3  # per image, as in COCO; geometric, so that some are crowded


def write_coco_like(
    path: Path, num_images: int, *, seed: int = 0, with_polygons: bool = True
) -> int:
    """Write an annotation file image by image.

    Args:
        path: of the file.
        num_images: how many.
        seed: of everything in it.
        with_polygons: as COCO has; most of a file's bytes.

    Returns:
        The number of boxes.
    """
    random = np.random.default_rng(seed)
    sizes = np.array(_IMAGE_SIZES)[random.integers(0, len(_IMAGE_SIZES), num_images)]
    num_boxes = np.minimum(random.geometric(1 / _MEAN_BOXES, num_images), 90)
    categories = [{"id": i + 1, "name": f"category {i + 1}"} for i in range(_NUM_CATEGORIES)]
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "made by coco_like.py"}, "images": [')
        for i, (width, height) in enumerate(sizes.tolist()):
            image = {"id": i + 1, "width": width, "height": height, "file_name": f"{i + 1:012}.jpg"}
            file.write((", " if i else "") + json.dumps(image))
        file.write('], "annotations": [')
        written = 0
        for i, (width, height) in enumerate(sizes.tolist()):
            for box in _boxes(random, int(num_boxes[i]), width, height):
                entry = _annotation(random, written + 1, i + 1, box)
                if not with_polygons:
                    del entry["segmentation"]
                file.write((", " if written else "") + json.dumps(entry))
                written += 1
        file.write(f'], "categories": {json.dumps(categories)}}}')
    return written


def _boxes(
    random: np.random.Generator, count: int, width: int, height: int
) -> list[tuple[float, float, float, float]]:
    """Log-normal sides and aspect ratios, cut off at the image."""
    side = np.exp(random.normal(4.0, 1.1, count))
    ratio = np.exp(random.normal(0.0, 0.5, count))
    w = np.clip(side * np.sqrt(ratio), 2, width)
    h = np.clip(side / np.sqrt(ratio), 2, height)
    x, y = random.random(count) * (width - w), random.random(count) * (height - h)
    return [tuple(box) for box in np.round(np.stack([x, y, w, h], axis=1), 2).tolist()]


def _annotation(
    random: np.random.Generator, own_id: int, image_id: int, box: tuple[float, ...]
) -> dict[str, object]:
    x, y, w, h = box
    corners = random.random((int(random.integers(8, 30)), 2)) * (w, h) + (x, y)
    return {
        "segmentation": [np.round(corners, 2).ravel().tolist()],
        "area": round(w * h * 0.6, 4),
        "iscrowd": int(random.random() < _CROWD_SHARE),
        "image_id": image_id,
        "bbox": list(box),
        "category_id": int(random.integers(1, _NUM_CATEGORIES + 1)),
        "id": own_id,
    }
