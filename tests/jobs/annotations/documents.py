"""A small COCO file, and ways to change and write it."""

import copy
import json
from pathlib import Path
from typing import Any

from jobs.annotations.coco_json import CocoAnnotations, load_annotations

GOOD: dict[str, Any] = {
    "info": {"year": 2026},
    "images": [
        {"id": 5, "file_name": "a/x.jpg", "width": 64, "height": 48},
        {"id": -9, "width": 10, "height": 20},
    ],
    "licenses": [{"id": 5}, {"id": 5}],
    "annotations": [
        {"id": 0, "image_id": -9, "category_id": 3, "bbox": [1, 2.5, 3, 4], "area": 7.5},
        {"id": 8, "image_id": 5, "category_id": 1, "bbox": [0, 0, 0, 6.5], "iscrowd": 1},
        {"id": 2**63 - 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "area": None},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
}


def write(folder: Path, document: object, name: str = "instances.json") -> str:
    path = folder / name
    path.write_text(json.dumps(document))
    return str(path)


def changed(where: str, position: int, **values: object) -> dict[str, Any]:
    """Change values of one entry; an ellipsis takes a value away."""
    document = copy.deepcopy(GOOD)
    entry = document[where][position]
    for key, value in values.items():
        if value is ...:
            del entry[key]
        else:
            entry[key] = value
    return document


NAMED = changed("images", 1, file_name="y.jpg")
"""The same file with a name for every image."""


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def boxes_of(uri: str, *, skip_invalid: bool = False) -> CocoAnnotations:
    """Read a file whose images need no names."""
    return load_annotations(uri, names="none", skip_invalid=skip_invalid)
