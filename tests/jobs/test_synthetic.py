import json

import cv2
import numpy as np
import pytest

from fcos_core.errors import ConfigError
from jobs.synthetic import CATEGORIES, generate
from jobs.synthetic.scene import LARGEST_PX, MIN_VISIBLE, SIZE_PX, SMALLEST_PX, draw_scene
from jobs.tables.coco_json import load_annotations


def scene(index, seed=5):
    return draw_scene(np.random.default_rng([seed, index]))


def test_the_same_seed_draws_the_same_picture_and_another_seed_another():
    (image, objects), (again, same) = scene(3), scene(3)
    assert np.array_equal(image, again)
    assert objects == same
    assert not np.array_equal(image, scene(3, seed=6)[0])


def test_a_larger_dataset_begins_with_the_smaller_one(tmp_path):
    small = generate(tmp_path / "small", num_images=3, seed=1)
    large = generate(tmp_path / "large", num_images=5, seed=1)
    for name in ("000000.jpg", "000002.jpg"):
        assert (small.parent / "images" / name).read_bytes() == (
            large.parent / "images" / name
        ).read_bytes()
    few, many = json.loads(small.read_text()), json.loads(large.read_text())
    assert many["images"][:3] == few["images"]
    assert many["annotations"][: len(few["annotations"])] == few["annotations"]


def test_the_annotations_are_valid_coco_and_every_picture_is_there(tmp_path):
    path = generate(tmp_path / "odd name #1", num_images=6, seed=2)
    annotations = load_annotations(str(path))
    assert [c.name for c in annotations.categories] == [c.name for c in CATEGORIES]
    assert len(CATEGORIES) >= 6
    for image in annotations.images:
        pixels = cv2.imread(str(path.parent / "images" / image.file_name))
        assert pixels.shape == (image.height, image.width, 3) == (SIZE_PX, SIZE_PX, 3)


def test_objects_of_all_classes_and_sizes_lie_inside_the_picture():
    objects = [item for index in range(120) for item in scene(index)[1]]
    assert {item.label for item in objects} == set(range(len(CATEGORIES)))
    longest = np.array([max(item.box[2:]) for item in objects])
    assert longest.min() < 16
    assert longest.max() > 200
    # A mask covers whole pixels, so an extent may exceed the drawn size by two.
    assert longest.max() <= LARGEST_PX + 2
    for x, y, width, height in (item.box for item in objects):
        assert 0 <= x < x + width <= SIZE_PX
        assert 0 <= y < y + height <= SIZE_PX
    assert all(item.area >= MIN_VISIBLE * SMALLEST_PX for item in objects)
    assert all(item.area <= item.box[2] * item.box[3] for item in objects)


def test_boxes_overlap_often_enough_to_be_hard():
    overlapping = 0
    for index in range(40):
        boxes = [item.box for item in scene(index)[1]]
        overlapping += any(
            a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
            for i, a in enumerate(boxes)
            for b in boxes[:i]
        )
    assert overlapping > 15


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file: cannot write the dataset"):
        generate(tmp_path / "file", num_images=1, seed=0)
