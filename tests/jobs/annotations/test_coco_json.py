"""An annotation file is used whole or refused with one line that names file, entry and value."""

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcos_core.errors import AnnotationError, ConfigError
from jobs.annotations.coco_json import load_annotations, load_images, load_results

GOOD: dict[str, Any] = {
    "images": [
        {"id": 5, "file_name": "a/x.jpg", "width": 64, "height": 48},
        {"id": 9, "file_name": "y.jpg", "width": 10, "height": 20},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
    "annotations": [
        {"id": 0, "image_id": 9, "category_id": 3, "bbox": [1, 2.5, 3, 4], "area": 7.5},
        {"id": 8, "image_id": 5, "category_id": 1, "bbox": [0, 0, 0, 6.5], "iscrowd": 1},
    ],
}


def write(folder: Path, document: object, name: str = "instances.json") -> str:
    path = folder / name
    path.write_text(json.dumps(document))
    return str(path)


def changed(where: str, position: int, **values: object) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    entry = document[where][position]
    for key, value in values.items():
        if value is ...:
            del entry[key]
        else:
            entry[key] = value
    return document


def test_a_good_file_is_read_in_its_own_order_with_gaps_filled(tmp_path: Path):
    annotations = load_annotations(write(tmp_path, GOOD))

    assert [(i.id, i.file_name, i.width, i.height) for i in annotations.images] == [
        (5, "a/x.jpg", 64, 48),
        (9, "y.jpg", 10, 20),
    ]
    assert [(c.id, c.name) for c in annotations.categories] == [(3, "cat"), (1, "dog")]
    boxes = annotations.annotations
    assert boxes.ids.tolist() == [0, 8]
    assert boxes.image_ids.tolist() == [9, 5]
    assert boxes.boxes.tolist() == [[1, 2.5, 3, 4], [0, 0, 0, 6.5]]
    assert boxes.areas.tolist() == [7.5, 0.0], "a missing area is the box's"
    assert boxes.num_areas_filled == 1
    assert boxes.is_crowd.tolist() == [False, True]
    assert len(annotations.sha256) == 64


def test_a_file_without_any_box_is_a_good_file(tmp_path: Path):
    annotations = load_annotations(write(tmp_path, {**GOOD, "annotations": []}))
    assert annotations.annotations.boxes.shape == (0, 4)
    assert len(annotations.annotations) == 0


def test_images_are_read_from_a_file_that_has_nothing_else(tmp_path: Path):
    images = load_images(write(tmp_path, {"images": GOOD["images"]}))
    assert [image.id for image in images] == [5, 9]


def test_frames_of_videos_are_no_images(tmp_path):
    frame = {"id": 1, "width": 4, "height": 3, "video": "clip.mp4", "frame_index": 0}
    mixed = [frame, *GOOD["images"], {**frame, "id": 2, "file_name": "0.jpg"}]
    images = load_images(write(tmp_path, {"images": mixed}))
    assert [image.id for image in images] == [5, 9, 2]
    bare = {"id": 3, "width": 4, "height": 3}
    with pytest.raises(AnnotationError, match=r"images\[1\] \(id 3\): file_name is missing"):
        load_images(write(tmp_path, {"images": [frame, bare]}))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param([], "is a list, expected an object", id="a results file"),
        pytest.param({"images": []}, "has no categories; it has images", id="no categories"),
        pytest.param({**GOOD, "images": {}}, "images is {}, expected a list", id="no list"),
        pytest.param({**GOOD, "images": [3]}, "images[0] is 3, expected an object", id="no object"),
        pytest.param(
            changed("images", 1, width=...), "images[1] (id 9): width is missing", id="no width"
        ),
        pytest.param(
            changed("images", 0, height=None), "images[0] (id 5): height is None", id="null height"
        ),
        pytest.param(changed("images", 0, width=0), "width is 0, expected an integer", id="zero"),
        pytest.param(changed("images", 0, width=6.5), "width is 6.5", id="half a pixel"),
        pytest.param(changed("images", 0, file_name=""), "file_name is ''", id="no file name"),
        pytest.param(changed("images", 0, id="5"), "id is '5', expected a 64-bit", id="string id"),
        pytest.param(changed("images", 0, id=True), "id is True", id="boolean id"),
        pytest.param(changed("images", 0, id=2**63), "id is 9223372036854775808", id="huge id"),
        pytest.param(
            changed("images", 1, id=5),
            "images[1] (id 5): id 5 is also that of images[0]",
            id="twice",
        ),
        pytest.param(
            changed("annotations", 1, id=0), "id 0 is also that of annotations[0]", id="box twice"
        ),
        pytest.param(
            changed("categories", 1, id=3), "id 3 is also that of categories[0]", id="class twice"
        ),
        pytest.param(
            changed("annotations", 0, image_id=7),
            "annotations[0] (id 0): image_id 7 is not among the images",
            id="unknown image",
        ),
        pytest.param(
            changed("annotations", 1, category_id=2),
            "annotations[1] (id 8): category_id 2 is not among the categories",
            id="unknown category",
        ),
        pytest.param(
            changed("annotations", 0, bbox=...),
            "annotations[0] (id 0): bbox is missing",
            id="no box",
        ),
        pytest.param(changed("annotations", 0, bbox=[1, 2, 3]), "bbox is [1, 2, 3]", id="three"),
        pytest.param(
            changed("annotations", 1, bbox=[1, 2, -3, 4]), "bbox is [1, 2, -3, 4]", id="negative"
        ),
        pytest.param(
            changed("annotations", 0, bbox=[1, float("nan"), 3, 4]),
            "bbox is [1, nan, 3, 4]",
            id="nan",
        ),
        pytest.param(
            changed("annotations", 0, bbox=[1, 2, 3, float("inf")]), "[1, 2, 3, inf]", id="infinite"
        ),
        pytest.param(changed("annotations", 0, bbox=[1, 2, 3, "4"]), "[1, 2, 3, '4']", id="string"),
        pytest.param(changed("annotations", 0, bbox=[1, 2, 3, 10**400]), "bbox is", id="no float"),
        pytest.param(
            changed("annotations", 0, area=-1), "area is -1, expected", id="negative area"
        ),
        pytest.param(changed("annotations", 0, area="big"), "area is 'big'", id="area in words"),
        pytest.param(
            changed("annotations", 0, iscrowd=2), "iscrowd is 2, expected 0 or 1", id="crowd"
        ),
        pytest.param(
            changed("annotations", 0, is_crowd=1),
            "annotations[0] (id 0): has is_crowd, COCO's name is iscrowd",
            id="misspelt",
        ),
    ],
)
def test_what_is_malformed_is_named_in_one_line(tmp_path: Path, document: object, expected: str):
    uri = write(tmp_path, document)

    with pytest.raises(AnnotationError) as caught:
        load_annotations(uri)

    message = str(caught.value)
    assert message.startswith(f"{uri}: ")
    assert expected in message
    assert "\n" not in message
    assert len(message) < len(uri) + 200


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(json.dumps(GOOD).encode()[:-40], id="truncated"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0", id="an image"),
        pytest.param(b"[" * 200_000, id="too deep"),
    ],
)
def test_bytes_that_are_not_json_are_refused_in_one_line(tmp_path: Path, data: bytes):
    path = tmp_path / "instances.json"
    path.write_bytes(data)

    with pytest.raises(AnnotationError, match="that are not JSON") as caught:
        load_annotations(str(path))

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(AnnotationError, match=r"COCO file .* cannot be read") as caught:
            load_annotations(str(path))
        assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="S3"):
        load_annotations("s3://bucket/instances.json")


def test_results_are_kept_in_the_files_order(tmp_path: Path):
    annotations = load_annotations(write(tmp_path, GOOD))
    entries = [
        {"image_id": 9, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 5, "category_id": 77, "bbox": [0, 0, 1, 1], "score": 1},
    ]

    results = load_results(write(tmp_path, entries, "results.json"), annotations)

    assert results.image_ids.tolist() == [9, 5]
    assert results.category_ids.tolist() == [3, 77]
    assert results.scores.tolist() == [0.5, 1.0]
    assert len(load_results(write(tmp_path, [], "none.json"), annotations)) == 0


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"score": float("nan")}, "results[0]: score is nan, expected a finite number"),
        ({"score": "0.5"}, "score is '0.5'"),
        ({"image_id": 4}, "image_id 4 is not among the images of"),
        ({"bbox": [1, 2, -1, 3]}, "bbox is [1, 2, -1, 3]"),
    ],
)
def test_results_that_are_malformed_are_named(
    tmp_path: Path, entry: dict[str, object], expected: str
):
    annotations = load_annotations(write(tmp_path, GOOD))
    good = {"image_id": 9, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}

    with pytest.raises(AnnotationError) as caught:
        load_results(write(tmp_path, [{**good, **entry}], "results.json"), annotations)

    assert expected in str(caught.value)


def test_results_that_are_an_annotation_file_are_refused(tmp_path: Path):
    uri = write(tmp_path, GOOD)
    with pytest.raises(AnnotationError, match="expected a list"):
        load_results(uri, load_annotations(uri))


def test_a_hundred_thousand_boxes_take_seconds_not_minutes(tmp_path: Path):
    rng = np.random.default_rng(0)
    count = 100_000
    boxes = rng.random((count, 4)).round(3).tolist()
    document = {
        **GOOD,
        "annotations": [
            {"id": i, "image_id": 5, "category_id": 3, "bbox": box, "area": 1.5, "iscrowd": 0}
            for i, box in enumerate(boxes)
        ],
    }
    uri = write(tmp_path, document)

    start = time.process_time()
    annotations = load_annotations(uri)
    seconds = time.process_time() - start

    assert annotations.annotations.boxes.tolist() == boxes
    assert seconds < 20  # of one core; about 1 s here, and train2017 has 8.6 times as many
