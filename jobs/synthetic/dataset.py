"""Write a generated dataset as JPEG files with COCO annotations."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fcos_core.errors import ConfigError
from jobs.synthetic.scene import SIZE_PX, SceneObject, draw_scene
from jobs.synthetic.shapes import CATEGORIES

JPEG_QUALITY = 92


def generate(out: Path, *, num_images: int, seed: int) -> Path:
    """Draw pictures into ``out/images`` and describe them in ``out/annotations.json``.

    The same seed and number give the same bytes with the same versions of numpy and OpenCV; a
    picture depends on the seed and its number alone, so a larger dataset begins with the smaller
    one.

    Args:
        out: a folder; made when absent. Pictures of the same name are replaced.
        num_images: how many.
        seed: of all randomness.

    Returns:
        The annotation file, written last: where it exists, the pictures are complete.

    Raises:
        ConfigError: the folder cannot be written.
    """
    images = out / "images"
    try:
        images.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:
            scenes = list(pool.map(partial(_write_scene, images, seed), range(num_images)))
        annotations = out / "annotations.json"
        temporary = annotations.with_name(".tmp-annotations.json")
        temporary.write_text(json.dumps(_coco(scenes, seed)))
        temporary.replace(annotations)
    except OSError as error:
        raise ConfigError(f"{out}: cannot write the dataset: {error.strerror or error}") from error
    return annotations


def _file_name(index: int) -> str:
    return f"{index:06d}.jpg"


def _write_scene(folder: Path, seed: int, index: int) -> list[SceneObject]:
    image, objects = draw_scene(np.random.default_rng([seed, index]))
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    (folder / _file_name(index)).write_bytes(data.tobytes())
    return objects


def _coco(scenes: list[list[SceneObject]], seed: int) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for index, objects in enumerate(scenes):
        for item in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": CATEGORIES[item.label].id,
                    "bbox": list(item.box),
                    "area": item.area,
                    "iscrowd": 0,
                }
            )
    return {
        "info": {
            "description": "Generated shapes; no rights reserved.",
            "num_images": len(scenes),
            "seed": seed,
        },
        "images": [
            {"id": i + 1, "file_name": _file_name(i), "width": SIZE_PX, "height": SIZE_PX}
            for i in range(len(scenes))
        ],
        "annotations": annotations,
        "categories": [{"id": c.id, "name": c.name, "supercategory": "shape"} for c in CATEGORIES],
    }
