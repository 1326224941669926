import json
from itertools import pairwise

import cv2
import numpy as np
import pytest

from fcos_core.errors import ConfigError
from jobs.annotations.coco_json import load_annotations
from jobs.media.video import VideoSource, decode_segment, index_video, split
from jobs.synthetic import CATEGORIES, VIDEO_NAME, generate
from jobs.synthetic.motion import draw_motion
from jobs.synthetic.scene import LARGEST_PX, MIN_VISIBLE, SMALLEST_PX, draw_scene
from jobs.synthetic.texture import SIZE_PX


def scene(index, seed=5):
    return draw_scene(np.random.default_rng([seed, index]))


def test_the_same_seed_draws_the_same_image_and_another_seed_another():
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


def test_the_annotations_are_valid_coco_and_every_image_is_there(tmp_path):
    path = generate(tmp_path / "odd name #1", num_images=6, seed=2)
    annotations = load_annotations(str(path))
    assert [c.name for c in annotations.categories] == [c.name for c in CATEGORIES]
    assert len(CATEGORIES) >= 6
    for image in annotations.images:
        pixels = cv2.imread(str(path.parent / "images" / image.file_name))
        assert pixels.shape == (image.height, image.width, 3) == (SIZE_PX, SIZE_PX, 3)


def test_objects_of_all_classes_and_sizes_lie_inside_the_image():
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


def motion(seed=4, num_frames=30):
    return list(draw_motion(np.random.default_rng(seed), num_frames))


def test_the_same_seed_draws_the_same_video_and_another_seed_another():
    one, again, other = motion(num_frames=4), motion(num_frames=4), motion(5, num_frames=4)
    for (image, objects), (same, equal) in zip(one, again, strict=True):
        assert np.array_equal(image, same)
        assert objects == equal
    assert not np.array_equal(one[0][0], other[0][0])


def test_shapes_move_smoothly_over_a_still_background():
    frames = motion(num_frames=60)
    pixels = np.stack([image for image, _ in frames]).astype(np.int16)
    still = (np.abs(np.diff(pixels, axis=0)).max(axis=3) < 40).mean(axis=(1, 2))
    assert still.min() > 0.6, "most of the image does not change from frame to frame"
    assert still.max() < 1, "and something always moves"
    for before, after in pairwise(frames):
        whole = [{o.label: o for o in seen if not o.is_hidden} for _, seen in (before, after)]
        for label in whole[0].keys() & whole[1].keys():
            if sum(o.label == label for o in before[1]) == 1:
                x, y, width, height = np.subtract(whole[0][label].box, whole[1][label].box)
                assert max(abs(x + width / 2), abs(y + height / 2)) < 24


def test_mostly_hidden_objects_are_marked_and_boxes_enclose_visible_parts():
    seen = [item for seed in range(4) for _, items in motion(seed, 25) for item in items]
    hidden = [item for item in seen if item.is_hidden]
    assert 0.02 < len(hidden) / len(seen) < 0.5
    for x, y, width, height in (item.box for item in seen):
        assert 0 <= x < x + width <= SIZE_PX
        assert 0 <= y < y + height <= SIZE_PX
    # Objects that enter or leave touch a side of the image; the others are behind other objects.
    assert any(item.box[0] == 0 or item.box[1] == 0 for item in hidden)


def test_the_video_of_a_dataset_has_an_entry_for_every_frame_and_leaves_images_alone(tmp_path):
    plain = generate(tmp_path / "plain", num_images=2, seed=3)
    path = generate(tmp_path / "mixed", num_images=2, seed=3, num_frames=30)
    images = [json.loads(p.read_text()) for p in (plain, path)]
    assert images[1]["images"][:2] == images[0]["images"]
    assert (plain.parent / "images/000001.jpg").read_bytes() == (
        path.parent / "images/000001.jpg"
    ).read_bytes()

    frames = load_annotations(str(path), names="images and frames").frames
    assert frames.videos == (VIDEO_NAME,)
    assert frames.frame_index.tolist() == list(range(30))
    assert any(one["iscrowd"] for one in images[1]["annotations"])

    source = VideoSource(str(path.parent / "videos" / VIDEO_NAME))
    index = index_video(source)
    assert (index.num_frames, index.width, index.height) == (30, SIZE_PX, SIZE_PX)
    assert [entry.frame for entry in index.entries] == [0, 24], "it can be cut every second"
    (segment,) = split(index, 1)
    decoded = [frame.pixels for frame in decode_segment(source, segment)]
    drawn = draw_motion(np.random.default_rng([3, 0, 3]), 30)
    for pixels, (image, _) in zip(decoded, drawn, strict=True):
        assert np.abs(pixels.astype(int) - image).mean() < 8, "boxes belong to their own frames"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file: cannot write the dataset"):
        generate(tmp_path / "file", num_images=1, seed=0)
