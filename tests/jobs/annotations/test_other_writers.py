"""What other programs write into COCO files is taken where nothing is lost by it, everywhere."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fcos_core.errors import AnnotationError
from jobs.annotations.coco_json import (
    CocoAnnotations,
    load_annotations,
    load_images,
    load_results,
)
from jobs.inputs.coco import enumerate_coco_file
from tests.jobs.annotations.documents import NAMED, boxes_of, changed, write


def same(one: CocoAnnotations, other: CocoAnnotations) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("image_ids", "image_sizes", "ids", "image_index", "labels", "areas", "boxes")
    ) and np.array_equal(one.is_crowd, other.is_crowd)


def as_floats(value: object) -> object:
    """Write every integer as a float, as pandas does with a column that has a gap."""
    if isinstance(value, dict):
        return {key: as_floats(own) for key, own in value.items()}
    if isinstance(value, list):
        return list(map(as_floats, value))
    return float(value) if type(value) is int else value


PLAIN = json.loads(json.dumps(NAMED).replace(str(2**63 - 1), "9007199254740991"))
RESULTS = [{"image_id": -9, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}]


def test_whole_floats_are_the_integers_that_they_are(tmp_path: Path):
    plain = load_annotations(write(tmp_path, PLAIN))
    floats = load_annotations(write(tmp_path, as_floats(PLAIN), "floats.json"))
    assert same(plain, floats)
    assert floats.ids.tolist()[-1] == 2**53 - 1, "the largest that a float surely holds"
    assert [c.id for c in floats.categories] == [c.id for c in plain.categories]

    results = load_results(write(tmp_path, as_floats(RESULTS), "results.json"), plain)
    assert (results.image_ids.tolist(), results.category_ids.tolist()) == ([-9], [3])


def test_ids_with_an_exponent_and_a_negative_zero_are_integers(tmp_path: Path):
    path = tmp_path / "instances.json"
    text = json.dumps(PLAIN).replace('"id": 8', '"id": 8e2').replace('"id": 0,', '"id": -0.0,')
    path.write_text(text)
    assert boxes_of(str(path)).ids.tolist() == [0, 800, 2**53 - 1]


def test_the_place_of_a_frame_may_be_a_whole_float(tmp_path: Path):
    frame = {"id": 1.0, "width": 4.0, "height": None, "video": "clip.mp4", "frame_index": 7.0}
    document = {"images": [frame], "annotations": [], "categories": []}
    frames = load_annotations(write(tmp_path, document), names="images and frames").frames
    assert frames is not None
    assert (frames.ids.tolist(), frames.frame_index.tolist()) == ([1], [7])


@pytest.mark.parametrize(
    ("written", "is_crowd"),
    [(None, False), (False, False), (True, True), (1.0, True), (0.0, False), (math.nan, False)],
)
def test_a_crowd_may_be_null_a_boolean_a_whole_float_or_a_gap_of_pandas(
    tmp_path: Path, written: object, *, is_crowd: bool
):
    boxes = boxes_of(write(tmp_path, changed("annotations", 0, iscrowd=written)))
    assert boxes.is_crowd.tolist() == [is_crowd, True, False]


@pytest.mark.parametrize("written", [..., None, 0, -1, 0.0, -1.0, math.nan])
def test_an_image_may_lack_its_width_or_its_height(tmp_path: Path, written: object):
    document = changed("images", 0, width=written)
    document["images"][1] |= {"file_name": "y.jpg"}
    uri = write(tmp_path, document)

    annotations = load_annotations(uri)
    assert annotations.image_sizes.tolist() == [[0, 48], [10, 20]]
    first, second = load_images(uri)
    assert (first.width, first.height) == (0, 48)
    assert first.may_be(7, 48)
    assert not first.may_be(7, 49)
    assert second.may_be(10, 20)
    sizes = [(item.width, item.height) for item in enumerate_coco_file(uri, str(tmp_path))]
    assert sizes == [(None, None), (10, 20)], "half a size plans nothing"


@pytest.mark.parametrize(
    ("written", "said"), [(None, "missing"), (0, "0"), (-1, "-1"), (math.nan, "nan")]
)
def test_what_needs_sizes_names_the_image_without_one(tmp_path: Path, written: object, said: str):
    uri = write(tmp_path, changed("images", 1, height=written))
    with pytest.raises(AnnotationError) as caught:
        load_annotations(uri, names="none", sizes_needed_by="this test")
    line = f"{uri}: images[1] (id -9): height is {said}, needed by this test"
    assert str(caught.value) == line
    boxes = load_annotations(uri, names="none", sizes_needed_by="this test", skip_invalid=True)
    assert boxes.image_ids.tolist() == [5]
    assert boxes.num_invalid == 2, "the image, and its box"


@pytest.mark.parametrize("written", [-2, 0.5, math.inf, False, "0", "-1"])
def test_what_no_program_writes_for_an_unknown_size_is_refused(tmp_path: Path, written: object):
    uri = write(tmp_path, changed("images", 1, height=written))
    with pytest.raises(AnnotationError, match=r"images\[1\] \(id -9\): height is "):
        load_annotations(uri, names="none")


@pytest.mark.parametrize("key", ["id", "image_id", "category_id", "area"])
def test_a_gap_of_pandas_is_refused_where_something_would_be_lost(tmp_path: Path, key: str):
    with pytest.raises(AnnotationError, match=f"{key} is nan, expected"):
        boxes_of(write(tmp_path, changed("annotations", 0, **{key: math.nan})))


def test_unused_keys_may_hold_anything(tmp_path: Path):
    document = {**PLAIN, "info": None, "licenses": None}
    document["annotations"] = [{**own, "segmentation": None} for own in PLAIN["annotations"]]
    document["categories"] = [{**own, "supercategory": None} for own in PLAIN["categories"]]
    assert same(boxes_of(write(tmp_path, document)), boxes_of(write(tmp_path, PLAIN, "b.json")))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param({"image_id": "5"}, "image_id is '5', expected a 64-bit integer", id="digits"),
        pytest.param({"image_id": 5.5}, "image_id is 5.5, expected a 64-bit integer", id="half"),
        pytest.param({"category_id": True}, "category_id is True, expected a 64-bit", id="true"),
        pytest.param({"bbox": ["1", "2", "3", "4"]}, "expected four numbers", id="box in words"),
        pytest.param({"image_id": float("nan")}, "image_id is nan, expected a 64", id="no number"),
        pytest.param({"image_id": 1e300}, "image_id is 1e+300, expected an integer wi", id="large"),
    ],
)
def test_what_could_mean_two_things_is_refused_alike_in_both_kinds_of_file(
    tmp_path: Path, changes: dict[str, object], line: str
):
    truth = load_annotations(write(tmp_path, PLAIN))
    results = write(tmp_path, [{**RESULTS[0], **changes}], "results.json")
    with pytest.raises(AnnotationError) as caught:
        load_results(results, truth)
    assert f"{results}: results[0]: " in str(caught.value)
    assert line in str(caught.value)

    document = {**PLAIN, "annotations": [{**PLAIN["annotations"][0], **changes}]}
    with pytest.raises(AnnotationError) as caught:
        boxes_of(write(tmp_path, document))
    assert "annotations[0] (id 0): " in str(caught.value)
    assert line in str(caught.value)


ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_detect_and_evaluate_read_the_same_encodings(tmp_path: Path, encoding: str):
    path = tmp_path / "instances.json"
    path.write_bytes(json.dumps(PLAIN).encode(encoding))
    (tmp_path / "results.json").write_bytes(json.dumps(RESULTS).encode(encoding))
    ids = [5, -9]
    assert [image.id for image in load_images(str(path))] == ids
    assert [item.image_id for item in enumerate_coco_file(str(path), str(tmp_path))] == ids
    annotations = load_annotations(str(path))
    assert annotations.image_ids.tolist() == ids
    assert len(load_results(str(tmp_path / "results.json"), annotations)) == 1


def test_what_follows_the_document_is_refused_by_its_place(tmp_path: Path):
    path = tmp_path / "instances.json"
    text = json.dumps(PLAIN)
    for read in (load_annotations, load_images):
        path.write_text(text + "\n \t")
        assert read(str(path))
        path.write_text(text + "\nx")
        with pytest.raises(AnnotationError, match=rf"goes on .* 'x' \(char {len(text) + 1}\)"):
            read(str(path))
