"""Write a generated dataset: JPEG files and a video, with COCO annotations."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fcos_core.errors import ConfigError
from jobs.synthetic.scene import SceneObject, draw_scene
from jobs.synthetic.shapes import CATEGORIES
from jobs.synthetic.texture import SIZE_PX

JPEG_QUALITY = 92
VIDEO_NAME = "shapes.mp4"
_VIDEO_STREAM = (0, 3)
"""Follows the seed of the video's randomness; an image's seed is followed by one number, its own.
Chosen among the first few for a calm background, and large shapes as well as small ones."""


def generate(out: Path, *, num_images: int, seed: int, num_frames: int = 0) -> Path:
    """Draw images and a video, and describe them in ``out/annotations.json``.

    The images go to ``out/images``, the video to ``out/videos``; the entries of its frames have
    ``video`` and ``frame_index``, and mostly hidden objects in frames are marked as crowds.

    The same seed and numbers give the same bytes with the same versions of the libraries; an
    image depends on the seed and its number alone, so a larger dataset begins with the smaller
    one.

    Args:
        out: the folder of the dataset; created when absent. Images of the same name are replaced.
        num_images: number of images.
        seed: seed of all randomness.
        num_frames: number of frames of the video; 0 for no video.

    Returns:
        The annotation file. It is written last, so where it exists the dataset is complete.

    Raises:
        ConfigError: the folder cannot be written.
    """
    images = out / "images"
    try:
        images.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:
            scenes = list(pool.map(partial(_write_scene, images, seed), range(num_images)))
        frames: list[list[SceneObject]] = []
        if num_frames:
            from jobs.synthetic.video import write_video  # images need no video library

            video = out / "videos" / VIDEO_NAME
            video.parent.mkdir(exist_ok=True)
            frames = write_video(video, np.random.default_rng([seed, *_VIDEO_STREAM]), num_frames)
        annotations = out / "annotations.json"
        temporary = annotations.with_name(".tmp-annotations.json")
        temporary.write_text(json.dumps(_coco(scenes, frames, seed)))
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


def _coco(
    scenes: list[list[SceneObject]], frames: list[list[SceneObject]], seed: int
) -> dict[str, Any]:
    names = [{"file_name": _file_name(i)} for i in range(len(scenes))]
    names += [{"video": VIDEO_NAME, "frame_index": i} for i in range(len(frames))]
    annotations: list[dict[str, Any]] = []
    for index, objects in enumerate([*scenes, *frames]):
        for item in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": CATEGORIES[item.label].id,
                    "bbox": list(item.box),
                    "area": item.area,
                    "iscrowd": int(item.is_hidden),
                }
            )
    return {
        "info": {
            "description": "Generated shapes; no rights reserved.",
            "num_images": len(scenes),
            "num_frames": len(frames),
            "seed": seed,
        },
        "images": [
            {"id": i + 1, **name, "width": SIZE_PX, "height": SIZE_PX}
            for i, name in enumerate(names)
        ],
        "annotations": annotations,
        "categories": [{"id": c.id, "name": c.name, "supercategory": "shape"} for c in CATEGORIES],
    }
