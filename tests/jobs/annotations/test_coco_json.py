"""COCO files are read into columns in their own order; what is no such file is refused."""

import hashlib
import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.errors import AnnotationError, ConfigError
from jobs.annotations import batches
from jobs.annotations.coco_json import (
    CocoAnnotations,
    CocoCategory,
    load_annotations,
    load_images,
    load_results,
)
from jobs.storage import chunks
from jobs.storage.s3.client import disconnect
from tests.jobs.annotations.documents import GOOD, NAMED, boxes_of, changed, write


def assert_good(boxes: CocoAnnotations) -> None:
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

    boxes = boxes_of(uri, skip_invalid=skip_invalid)

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
        patch.setattr(batches, "BATCH_ENTRIES", batch)
        assert_good(boxes_of(uri))


@pytest.mark.parametrize("names", ["images", "images and frames"])
def test_file_names_are_read_when_asked_for(tmp_path: Path, names: str):
    annotations = load_annotations(write(tmp_path, NAMED), names=names)
    assert annotations.file_names == ("a/x.jpg", "y.jpg")
    assert [(i.id, i.file_name, i.width, i.height) for i in annotations.images] == [
        (5, "a/x.jpg", 64, 48),
        (-9, "y.jpg", 10, 20),
    ]

    with pytest.raises(AnnotationError, match=r"images\[1\] \(id -9\): file_name is missing"):
        load_annotations(write(tmp_path, GOOD), names=names)


FRAME = {"id": 5, "width": 4, "height": 3, "video": "a/clip.mp4", "frame_index": 7}


def frames_file(folder: Path, *images: dict) -> str:
    return write(folder, {"images": list(images), "annotations": [], "categories": []})


def test_frames_of_videos_are_told_from_images(tmp_path: Path):
    still = {"id": 9, "width": 4, "height": 3, "file_name": "x.jpg", "video": None}
    both = {**FRAME, "id": 6, "file_name": "v/7.jpg", "frame_index": 8}
    foreign = {**still, "id": 7, "file_name": "y.jpg", "video": {"id": 3}, "frame_index": 1}
    boxes = load_annotations(
        frames_file(tmp_path, still, FRAME, both, foreign), names="images and frames"
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
        load_annotations(uri, names="images and frames")
    assert f"{uri}: images[1] (id 5): {line}" in str(caught.value)


@pytest.mark.parametrize("emptied", [["annotations"], ["images", "annotations", "categories"]])
def test_a_file_without_boxes_is_a_good_file(tmp_path: Path, emptied: list[str]):
    boxes = boxes_of(write(tmp_path, {**GOOD, **{name: [] for name in emptied}}))
    assert len(boxes.ids) == 0
    assert boxes.boxes.shape == (0, 4)
    assert boxes.image_sizes.shape == (2 if len(emptied) == 1 else 0, 2)
    assert boxes.labels.dtype == boxes.image_index.dtype == np.int64


def test_a_frame_is_no_image_where_only_images_are_wanted(tmp_path: Path):
    with pytest.raises(AnnotationError, match=r"images\[0\] \(id 5\): file_name is missing"):
        load_annotations(frames_file(tmp_path, FRAME))
    both = load_annotations(frames_file(tmp_path, {**FRAME, "file_name": "7.jpg"}))
    assert ([image.file_name for image in both.images], both.frames) == (["7.jpg"], None)


@pytest.mark.parametrize(
    "name",
    [
        "coco_results/instances_val2014_100.json",
        "coco_tiny/annotations/instances_train2017.json",
        "coco_tiny/annotations/instances_val2017.json",
    ],
)
def test_real_files_give_what_json_says(shared_data: Path, name: str):
    path = shared_data / name
    annotations, whole = load_annotations(str(path)), json.loads(path.read_bytes())

    assert [
        {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}
        for image in annotations.images
    ] == [
        {key: image[key] for key in ("id", "file_name", "width", "height")}
        for image in whole["images"]
    ]
    assert annotations.categories == tuple(
        CocoCategory(category["id"], category["name"]) for category in whole["categories"]
    )
    for column, key in [
        (annotations.ids, "id"),
        (annotations.box_image_ids, "image_id"),
        (annotations.box_category_ids, "category_id"),
        (annotations.boxes, "bbox"),
        (annotations.areas, "area"),
        (annotations.is_crowd, "iscrowd"),
    ]:
        np.testing.assert_array_equal(column, [box[key] for box in whole["annotations"]])
    assert annotations.num_areas_filled == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("chunk_bytes", [1, 5, 1 << 21])
def test_encodings_that_json_allows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, chunk_bytes: int
):
    monkeypatch.setattr(chunks.HashedChunks.__init__, "__defaults__", (chunk_bytes,))
    path = tmp_path / "instances.json"
    document = changed("categories", 1, name="Hündchen")
    path.write_text(json.dumps(document, ensure_ascii=False), encoding=encoding)
    assert [category.name for category in boxes_of(str(path)).categories] == ["cat", "Hündchen"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(AnnotationError, match=r"ends in the middle of categories\[1\]"):
        boxes_of(str(path))


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(AnnotationError, match=r"COCO file .* cannot be read") as caught:
            boxes_of(str(path))
        assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="S3"):
        boxes_of("s3://bucket/instances.json")
    disconnect()  # a test with credentials would have this connection without


def test_polygons_are_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    num_boxes = 1_500
    box = {"image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "segmentation": [[0.5] * 300]}
    document = {**GOOD, "annotations": [{"id": i, **box} for i in range(num_boxes)]}
    uri = write(tmp_path, document)
    assert Path(uri).stat().st_size > 2_000_000
    monkeypatch.setattr(chunks.HashedChunks.__init__, "__defaults__", (1 << 16,))
    monkeypatch.setattr(batches, "BATCH_ENTRIES", 100)
    del document

    tracemalloc.start()
    try:
        boxes = boxes_of(uri)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(boxes.ids) == num_boxes
    assert peak_bytes < 1_000_000  # the text alone is over twice as long


def test_images_are_read_from_a_file_that_has_nothing_else(tmp_path: Path):
    images = load_images(write(tmp_path, {"images": NAMED["images"]}))
    assert [image.id for image in images] == [5, -9]


def test_frames_of_videos_are_no_images(tmp_path):
    frame = {"id": 1, "width": 4, "height": 3, "video": "clip.mp4", "frame_index": 0}
    mixed = [frame, *NAMED["images"], {**frame, "id": 2, "file_name": "0.jpg"}]
    images = load_images(write(tmp_path, {"images": mixed}))
    assert [image.id for image in images] == [5, -9, 2]
    bare = {"id": 3, "width": 4, "height": 3}
    with pytest.raises(AnnotationError, match=r"images\[1\] \(id 3\): file_name is missing"):
        load_images(write(tmp_path, {"images": [frame, bare]}))


def test_images_that_are_invalid_are_named(tmp_path: Path):
    uri = write(tmp_path, {"images": [NAMED["images"][0], {**NAMED["images"][1], "id": 5}]})
    with pytest.raises(AnnotationError) as caught:
        load_images(uri)
    assert str(caught.value) == f"{uri}: images[1] (id 5): id 5 is also that of images[0]"
    with pytest.raises(AnnotationError, match="has no images; it has 'annotations'"):
        load_images(write(tmp_path, {"annotations": []}))


@pytest.mark.parametrize("read", [load_annotations, load_images])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(json.dumps(NAMED).encode()[:-40], "ends in the middle of", id="truncated"),
        pytest.param(b"", "is empty, expected an object with images", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0", "is not UTF-8: byte 0x89", id="an image"),
        pytest.param(b"[" * 200_000, "is a list, expected an object with", id="a list"),
        pytest.param(b'{"images": [' + b"[" * 200_000, "nested too deeply", id="too deep"),
    ],
)
def test_bytes_that_are_not_json_are_refused_in_one_line(
    tmp_path: Path, read: object, data: bytes, expected: str
):
    path = tmp_path / "instances.json"
    path.write_bytes(data)
    with pytest.raises(AnnotationError, match=expected) as caught:
        read(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_results_are_kept_in_the_files_order(tmp_path: Path):
    annotations = load_annotations(write(tmp_path, NAMED))
    entries = [
        {"image_id": -9, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 5, "category_id": 77, "bbox": [0, 0, 1, 1], "score": 1},
    ]

    results = load_results(write(tmp_path, entries, "results.json"), annotations)

    assert results.image_ids.tolist() == [-9, 5]
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
        ({"category_id": None}, "results[0]: category_id is None, expected a 64-bit integer"),
        ({"id": 7, "score": None}, "results[0] (id 7): score is None"),
    ],
)
def test_results_that_are_malformed_are_named(
    tmp_path: Path, entry: dict[str, object], expected: str
):
    annotations = load_annotations(write(tmp_path, NAMED))
    good = {"image_id": -9, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}

    with pytest.raises(AnnotationError) as caught:
        load_results(write(tmp_path, [{**good, **entry}], "results.json"), annotations)

    assert expected in str(caught.value)


def test_results_that_are_an_annotation_file_are_refused(tmp_path: Path):
    uri = write(tmp_path, NAMED)
    with pytest.raises(AnnotationError, match="is an object, expected a list of results"):
        load_results(uri, load_annotations(uri))


def test_results_that_are_cut_off_are_refused(tmp_path: Path):
    annotations = load_annotations(write(tmp_path, NAMED))
    entry = {"image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}
    path = tmp_path / "results.json"
    for text, expected in [
        (json.dumps([entry, entry])[:-10], r"ends in the middle of results\[1\]"),
        (json.dumps([entry]) + "]", "goes on behind its outermost value"),
        ("", "is empty, expected a list of results"),
    ]:
        path.write_text(text)
        with pytest.raises(AnnotationError, match=expected):
            load_results(str(path), annotations)


def test_a_hundred_thousand_boxes_take_seconds_not_minutes(tmp_path: Path):
    rng = np.random.default_rng(0)
    count = 100_000
    boxes = rng.random((count, 4)).round(3).tolist()
    document = {
        **NAMED,
        "annotations": [
            {"id": i, "image_id": 5, "category_id": 3, "bbox": box, "area": 1.5, "iscrowd": 0}
            for i, box in enumerate(boxes)
        ],
    }
    uri = write(tmp_path, document)

    start = time.process_time()
    annotations = load_annotations(uri)
    seconds = time.process_time() - start

    assert annotations.boxes.tolist() == boxes
    assert seconds < 20  # of one core; about 1 s here, and train2017 has 8.6 times as many


def test_a_file_without_boxes_is_not_taken_for_no_file(tmp_path: Path):
    """Callers write ``annotations or ...`` where a file may be absent."""
    assert load_annotations(write(tmp_path, {**NAMED, "annotations": []}))
