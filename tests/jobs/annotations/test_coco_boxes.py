"""Boxes of a file of any size: the same as the whole-file reader's, refused or left out by name."""

import copy
import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.errors import AnnotationError, ConfigError
from jobs.annotations import batches as gathering
from jobs.annotations.coco_boxes import BoxAnnotations, read_box_annotations
from jobs.annotations.coco_json import CocoCategory, load_annotations
from jobs.storage import chunks

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


def write(folder: Path, document: object) -> str:
    path = folder / "instances.json"
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


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def assert_good(boxes: BoxAnnotations) -> None:
    assert boxes.image_ids.tolist() == [5, -9]
    assert boxes.image_sizes.tolist() == [[64, 48], [10, 20]]
    assert boxes.categories == (CocoCategory(3, "cat"), CocoCategory(1, "dog"))
    assert boxes.ids.tolist() == [0, 8, 2**63 - 1]
    assert boxes.image_index.tolist() == [1, 0, 0]
    assert boxes.labels.tolist() == [0, 1, 0]
    assert boxes.boxes.tolist() == [[1, 2.5, 3, 4], [0, 0, 0, 6.5], [1, 2, 3, 4]]
    assert boxes.areas.tolist() == [7.5, 0, 12], "a missing area is the box's"
    assert boxes.is_crowd.tolist() == [False, True, False]
    assert boxes.num_areas_filled == 2


@pytest.mark.parametrize("skip_invalid", [False, True])
def test_a_good_file_is_read_in_its_own_order(tmp_path: Path, *, skip_invalid: bool):
    uri = write(tmp_path, GOOD)

    boxes = read_box_annotations(uri, skip_invalid=skip_invalid)

    assert_good(boxes)
    assert (boxes.uri, boxes.file_names, boxes.num_invalid, boxes.invalid) == (uri, None, 0, ())
    assert boxes.sha256 == hashlib.sha256(Path(uri).read_bytes()).hexdigest()
    for name in ("ids", "image_ids", "image_sizes", "image_index", "labels"):
        assert getattr(boxes, name).dtype == np.int64, name


@given(st.permutations(list(GOOD)), st.integers(1, 50), st.integers(1, 4))
def test_order_of_lists_and_length_of_batches_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], chunk_bytes: int, batch: int
):
    uri = write(tmp_path_factory.mktemp("order"), {name: GOOD[name] for name in names})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks.HashedChunks.__init__, "__defaults__", (chunk_bytes,))
        patch.setattr(gathering, "BATCH_ENTRIES", batch)
        assert_good(read_box_annotations(uri))


def test_file_names_are_read_when_asked_for(tmp_path: Path):
    document = changed("images", 1, file_name="y.jpg")
    boxes = read_box_annotations(write(tmp_path, document), with_file_names=True)
    assert boxes.file_names == ("a/x.jpg", "y.jpg")

    with pytest.raises(AnnotationError, match=r"images\[1\] \(id -9\): file_name is missing"):
        read_box_annotations(write(tmp_path, GOOD), with_file_names=True)


FRAME = {"id": 5, "width": 4, "height": 3, "video": "a/clip.mp4", "frame_index": 7}


def frames_file(folder: Path, *images: dict) -> str:
    return write(folder, {"images": list(images), "annotations": [], "categories": []})


def test_frames_of_videos_are_told_from_images(tmp_path: Path):
    still = {"id": 9, "width": 4, "height": 3, "file_name": "x.jpg", "video": None}
    both = {**FRAME, "id": 6, "file_name": "v/7.jpg", "frame_index": 8}
    foreign = {**still, "id": 7, "file_name": "y.jpg", "video": {"id": 3}, "frame_index": 1}
    boxes = read_box_annotations(
        frames_file(tmp_path, still, FRAME, both, foreign), with_file_names=True
    )

    assert boxes.file_names == ("x.jpg", "", "v/7.jpg", "y.jpg")
    assert [image.id for image in boxes.images] == [9, 6, 7]
    frames = boxes.frames
    assert frames is not None
    assert frames.videos == ("a/clip.mp4",)
    assert (frames.ids.tolist(), frames.frame_index.tolist()) == ([5, 6], [7, 8])
    assert (frames.is_image.tolist(), frames.video_index.tolist()) == ([False, True], [0, 0])
    assert frames.name_of(6) == {"video": "a/clip.mp4", "frame_index": 8}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param({"frame_index": -1}, "frame_index is -1, expected an integer from 0", id="-1"),
        pytest.param({"frame_index": "7"}, "frame_index is '7', expected an integer", id="text"),
        pytest.param({"frame_index": 2**31}, "frame_index is 2147483648, expected", id="large"),
        pytest.param({"frame_index": None}, "frame_index is None, expected an integer", id="none"),
        pytest.param({"video": ""}, "video is '', expected a non-empty string", id="no name"),
        pytest.param({"video": 3}, "video is 3, expected a non-empty string", id="a number"),
        pytest.param({"video": None}, "file_name is missing", id="neither"),
        pytest.param({"file_name": ""}, "file_name is '', expected a non-empty", id="no file"),
    ],
)
def test_a_frame_that_cannot_be_found_again_is_refused(
    tmp_path: Path, changes: dict[str, object], line: str
):
    uri = frames_file(tmp_path, {**FRAME, "id": 1}, {**FRAME, **changes})
    with pytest.raises(AnnotationError) as caught:
        read_box_annotations(uri, with_file_names=True)
    assert f"{uri}: images[1] (id 5): {line}" in str(caught.value)


@pytest.mark.parametrize("emptied", [["annotations"], ["images", "annotations", "categories"]])
def test_a_file_without_boxes_is_a_good_file(tmp_path: Path, emptied: list[str]):
    boxes = read_box_annotations(write(tmp_path, {**GOOD, **{name: [] for name in emptied}}))
    assert len(boxes) == 0
    assert boxes.boxes.shape == (0, 4)
    assert boxes.image_sizes.shape == (2 if len(emptied) == 1 else 0, 2)
    assert boxes.labels.dtype == boxes.image_index.dtype == np.int64


@pytest.mark.parametrize(
    "name",
    [
        "coco_results/instances_val2014_100.json",
        "coco_tiny/annotations/instances_train2017.json",
        "coco_tiny/annotations/instances_val2017.json",
    ],
)
def test_real_files_give_what_the_whole_file_reader_gives(shared_data: Path, name: str):
    uri = str(shared_data / name)
    boxes, whole = read_box_annotations(uri, with_file_names=True), load_annotations(uri)

    assert boxes.sha256 == whole.sha256
    assert boxes.file_names == tuple(image.file_name for image in whole.images)
    assert boxes.image_sizes.tolist() == [[image.width, image.height] for image in whole.images]
    assert boxes.categories == whole.categories
    category_ids = np.array([category.id for category in whole.categories])
    truth = whole.annotations
    for got, expected in [
        (boxes.image_ids[boxes.image_index], truth.image_ids),
        (category_ids[boxes.labels], truth.category_ids),
        (boxes.ids, truth.ids),
        (boxes.boxes, truth.boxes),
        (boxes.areas, truth.areas),
        (boxes.is_crowd, truth.is_crowd),
    ]:
        np.testing.assert_array_equal(got, expected)
    assert boxes.num_areas_filled == truth.num_areas_filled


INVALID = [
    pytest.param(
        changed("images", 1, width=...), "images[1] (id -9): width is missing", id="width"
    ),
    pytest.param(
        changed("images", 0, height=0),
        "images[0] (id 5): height is 0, expected an integer >= 1",
        id="no height",
    ),
    pytest.param(
        changed("images", 0, width=6.5),
        "images[0] (id 5): width is 6.5, expected an integer >= 1",
        id="half a pixel",
    ),
    pytest.param(
        changed("images", 0, id="5"),
        "images[0] (id '5'): id is '5', expected a 64-bit integer",
        id="string id",
    ),
    pytest.param(
        changed("images", 1, id=5),
        "images[1] (id 5): id 5 is also that of images[0]",
        id="image twice",
    ),
    pytest.param(
        changed("categories", 1, id=3),
        "categories[1] (id 3): id 3 is also that of categories[0]",
        id="category twice",
    ),
    pytest.param(
        changed("categories", 1, name=""),
        "categories[1] (id 1): name is '', expected a non-empty string",
        id="no name",
    ),
    pytest.param(
        changed("annotations", 2, id=0),
        "annotations[2] (id 0): id 0 is also that of annotations[0]",
        id="box twice",
    ),
    pytest.param(
        changed("annotations", 2, id=2**63),
        "annotations[2] (id 9223372036854775808): id is 9223372036854775808, "
        "expected a 64-bit integer",
        id="huge id",
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
        changed("annotations", 0, bbox=...), "annotations[0] (id 0): bbox is missing", id="no box"
    ),
    *(
        pytest.param(
            changed("annotations", 1, bbox=box),
            f"annotations[1] (id 8): bbox is {said}, "
            "expected four numbers x, y, width >= 0, height >= 0, none beyond 1e+150",
            id=said,
        )
        for box, said in [
            ([1, 2, 3], "[1, 2, 3]"),
            ([1, 2, -3, 4], "[1, 2, -3, 4]"),
            ([1, float("nan"), 3, 4], "[1, nan, 3, 4]"),
            ([1, 2, 3, float("inf")], "[1, 2, 3, inf]"),
            ([1, 2, 3, "4"], "[1, 2, 3, '4']"),
            ([1, 2, 3, 1e308], "[1, 2, 3, 1e+308]"),
            ([-1e200, 2, 3, 4], "[-1e+200, 2, 3, 4]"),
            (None, "None"),
        ]
    ),
    pytest.param(
        changed("annotations", 2, area=1e999),
        "annotations[2] (id 9223372036854775807): area is inf, expected a finite number >= 0",
        id="endless area",
    ),
    pytest.param(
        changed("annotations", 0, iscrowd=2),
        "annotations[0] (id 0): iscrowd is 2, expected 0 or 1",
        id="crowd",
    ),
    pytest.param(
        changed("annotations", 0, is_crowd=1),
        "annotations[0] (id 0): has is_crowd, COCO's name is iscrowd",
        id="misspelled",
    ),
    pytest.param(
        {**GOOD, "annotations": [*GOOD["annotations"], 3]},
        "annotations[3] is 3, expected an object",
        id="no object",
    ),
]


@pytest.mark.parametrize("batch", [1, 2, 10_000])
@pytest.mark.parametrize(("document", "expected"), INVALID)
def test_what_is_invalid_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: object, expected: str, batch: int
):
    monkeypatch.setattr(gathering, "BATCH_ENTRIES", batch)
    uri = write(tmp_path, document)
    with pytest.raises(AnnotationError) as caught:
        read_box_annotations(uri)
    assert str(caught.value) == f"{uri}: {expected}"


@pytest.mark.parametrize("batch", [1, 2, 10_000])
@pytest.mark.parametrize(("document", "expected"), INVALID)
def test_what_is_invalid_can_be_left_out_with_the_same_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: Any, expected: str, batch: int
):
    monkeypatch.setattr(gathering, "BATCH_ENTRIES", batch)

    boxes = read_box_annotations(write(tmp_path, document), skip_invalid=True)

    first = boxes.invalid[0]
    assert first.reason == expected
    assert first.reason.startswith(f"{first.list_name}[{first.position}]")
    assert boxes.num_invalid == len(boxes.invalid)
    num_entries = sum(len(document[name]) for name in ("images", "annotations", "categories"))
    num_read = len(boxes) + len(boxes.image_ids) + len(boxes.categories)
    assert num_read + boxes.num_invalid == num_entries


@pytest.mark.parametrize(
    ("document", "num_boxes", "expected"),
    [
        pytest.param(
            changed("images", 0, width=-1),
            1,
            [
                ("images", 0, 5, "width is -1, expected an integer >= 1"),
                ("annotations", 1, 8, "image_id 5 is that of images[0], which is invalid"),
                ("annotations", 2, 2**63 - 1, "image_id 5 is that of images[0], which is invalid"),
            ],
            id="image",
        ),
        pytest.param(
            changed("categories", 1, name=None),
            2,
            [
                ("categories", 1, 1, "name is None, expected a non-empty string"),
                ("annotations", 1, 8, "category_id 1 is that of categories[1], which is invalid"),
            ],
            id="category",
        ),
        pytest.param(
            changed("categories", 1, id=3),
            2,
            [
                ("categories", 1, 3, "id 3 is also that of categories[0]"),
                ("annotations", 1, 8, "category_id 1 is not among the categories"),
            ],
            id="the first of two counts",
        ),
    ],
)
def test_boxes_of_what_is_left_out_are_left_out(
    tmp_path: Path, document: object, num_boxes: int, expected: list[tuple[str, int, int, str]]
):
    boxes = read_box_annotations(write(tmp_path, document), skip_invalid=True)
    assert len(boxes) == num_boxes
    assert [
        (entry.list_name, entry.position, entry.id, entry.reason) for entry in boxes.invalid
    ] == [
        (name, position, own_id, f"{name}[{position}] (id {own_id}): {what}")
        for name, position, own_id, what in expected
    ]


def test_indices_lead_to_the_same_images_when_some_are_left_out(tmp_path: Path):
    num_images = 1_000
    images = [{"id": 7 * i, "width": i % 3, "height": 1} for i in range(num_images)]
    annotations = [
        {"id": i, "image_id": 7 * i, "category_id": 1, "bbox": [i, i, 1, 1]}
        for i in reversed(range(num_images))
    ]
    document = {**GOOD, "images": images, "annotations": annotations}

    boxes = read_box_annotations(write(tmp_path, document), skip_invalid=True)

    kept = [i for i in range(num_images) if i % 3]
    assert boxes.image_ids.tolist() == [7 * i for i in kept]
    assert boxes.ids.tolist() == kept[::-1]
    np.testing.assert_array_equal(boxes.image_ids[boxes.image_index], 7 * boxes.ids)
    np.testing.assert_array_equal(boxes.boxes[:, 0], boxes.ids)
    assert boxes.num_invalid == 2 * (num_images - len(kept))


def test_of_very_many_invalid_entries_only_the_first_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gathering, "MAX_INVALID_KEPT", 3)
    document = {**GOOD, "annotations": [{"id": i} for i in range(100)]}
    boxes = read_box_annotations(write(tmp_path, document), skip_invalid=True)
    assert [entry.position for entry in boxes.invalid] == [0, 1, 2]
    assert boxes.num_invalid == 100


@pytest.mark.parametrize("skip_invalid", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps(GOOD)[:300], "ends in the middle of annotations[1], after 300 bytes"),
        (json.dumps(without("images")), "has no images; it has 'info', 'licenses'"),
        (json.dumps(without("annotations")), "has no annotations; it has"),
        (json.dumps(without("categories")), "has no categories; it has"),
        (json.dumps({**GOOD, "categories": {}}), "categories is an object, expected a list"),
        ("[]", "is a list, expected an object with images, annotations, categories"),
        ("", "is empty, expected an object with images, annotations, categories"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_even_when_entries_are_skipped(
    tmp_path: Path, text: str, expected: str, *, skip_invalid: bool
):
    path = tmp_path / "instances.json"
    path.write_text(text)
    with pytest.raises(AnnotationError) as caught:
        read_box_annotations(str(path), skip_invalid=skip_invalid)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(AnnotationError, match=r"COCO file .* cannot be read") as caught:
            read_box_annotations(str(path))
        assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="S3"):
        read_box_annotations("s3://bucket/instances.json")


def test_polygons_are_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    num_boxes = 1_500
    box = {"image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "segmentation": [[0.5] * 300]}
    document = {**GOOD, "annotations": [{"id": i, **box} for i in range(num_boxes)]}
    uri = write(tmp_path, document)
    assert Path(uri).stat().st_size > 2_000_000
    monkeypatch.setattr(chunks.HashedChunks.__init__, "__defaults__", (1 << 16,))
    monkeypatch.setattr(gathering, "BATCH_ENTRIES", 100)
    del document

    tracemalloc.start()
    try:
        boxes = read_box_annotations(uri)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(boxes) == num_boxes
    assert peak_bytes < 1_000_000  # the text alone is over twice as long
