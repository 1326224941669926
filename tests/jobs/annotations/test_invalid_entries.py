"""An invalid entry of a COCO file is refused, or left out, with one line that names it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcos_core.errors import AnnotationError
from jobs.annotations import batches
from jobs.annotations.coco_json import load_annotations
from tests.jobs.annotations.documents import GOOD, boxes_of, changed, without, write

INVALID = [
    pytest.param(
        changed("images", 1, width=[]),
        "images[1] (id -9): width is [], expected an integer >= 1",
        id="width",
    ),
    pytest.param(
        changed("images", 0, height=-2),
        "images[0] (id 5): height is -2, expected an integer >= 1",
        id="negative height",
    ),
    pytest.param(
        changed("images", 0, width=6.5),
        "images[0] (id 5): width is 6.5, expected an integer >= 1",
        id="half a pixel",
    ),
    pytest.param(
        changed("images", 0, height=float("inf")),
        "images[0] (id 5): height is inf, expected an integer >= 1",
        id="endless height",
    ),
    pytest.param(
        changed("images", 1, id=-0.5),
        "images[1] (id -0.5): id is -0.5, expected a 64-bit integer",
        id="half an id",
    ),
    pytest.param(
        changed("annotations", 2, id=2.0**53),
        "annotations[2] (id 9007199254740992.0): id is 9007199254740992.0, "
        "expected an integer without point and exponent: this may have been rounded",
        id="rounded id",
    ),
    pytest.param(
        changed("annotations", 0, iscrowd="0"),
        "annotations[0] (id 0): iscrowd is '0', expected 0 or 1",
        id="crowd in words",
    ),
    pytest.param(
        changed("annotations", 0, iscrowd=float("inf")),
        "annotations[0] (id 0): iscrowd is inf, expected 0 or 1",
        id="endless crowd",
    ),
    pytest.param(
        changed("annotations", 0, area=float("nan")),
        "annotations[0] (id 0): area is nan, expected a finite number >= 0",
        id="area that is no number",
    ),
    pytest.param(
        changed("images", 0, id=True),
        "images[0] (id True): id is True, expected a 64-bit integer",
        id="boolean id",
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
        changed("annotations", 1, area=-1),
        "annotations[1] (id 8): area is -1, expected a finite number >= 0",
        id="negative area",
    ),
    pytest.param(
        changed("annotations", 1, area="big"),
        "annotations[1] (id 8): area is 'big', expected a finite number >= 0",
        id="area in words",
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
        {**GOOD, "images": [*GOOD["images"], 3]},
        "images[2] is 3, expected an object",
        id="an image that is no object",
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
    monkeypatch.setattr(batches, "BATCH_ENTRIES", batch)
    uri = write(tmp_path, document)
    with pytest.raises(AnnotationError) as caught:
        boxes_of(uri)
    assert str(caught.value) == f"{uri}: {expected}"


@pytest.mark.parametrize("batch", [1, 2, 10_000])
@pytest.mark.parametrize(("document", "expected"), INVALID)
def test_what_is_invalid_can_be_left_out_with_the_same_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: Any, expected: str, batch: int
):
    monkeypatch.setattr(batches, "BATCH_ENTRIES", batch)

    boxes = boxes_of(write(tmp_path, document), skip_invalid=True)

    first = boxes.invalid[0]
    assert first.reason == expected
    assert first.reason.startswith(f"{first.list_name}[{first.position}]")
    assert boxes.num_invalid == len(boxes.invalid)
    num_entries = sum(len(document[name]) for name in ("images", "annotations", "categories"))
    num_read = len(boxes.ids) + len(boxes.image_ids) + len(boxes.categories)
    assert num_read + boxes.num_invalid == num_entries


@pytest.mark.parametrize(
    ("document", "num_boxes", "expected"),
    [
        pytest.param(
            changed("images", 0, width=-5),
            1,
            [
                ("images", 0, 5, "width is -5, expected an integer >= 1"),
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
    boxes = boxes_of(write(tmp_path, document), skip_invalid=True)
    assert len(boxes.ids) == num_boxes
    assert [
        (entry.list_name, entry.position, entry.id, entry.reason) for entry in boxes.invalid
    ] == [
        (name, position, own_id, f"{name}[{position}] (id {own_id}): {what}")
        for name, position, own_id, what in expected
    ]


def test_indices_lead_to_the_same_images_when_some_are_left_out(tmp_path: Path):
    num_images = 1_000
    images = [{"id": 7 * i, "width": i % 3 or "", "height": 1} for i in range(num_images)]
    annotations = [
        {"id": i, "image_id": 7 * i, "category_id": 1, "bbox": [i, i, 1, 1]}
        for i in reversed(range(num_images))
    ]
    document = {**GOOD, "images": images, "annotations": annotations}

    boxes = boxes_of(write(tmp_path, document), skip_invalid=True)

    kept = [i for i in range(num_images) if i % 3]
    assert boxes.image_ids.tolist() == [7 * i for i in kept]
    assert boxes.ids.tolist() == kept[::-1]
    np.testing.assert_array_equal(boxes.image_ids[boxes.image_index], 7 * boxes.ids)
    np.testing.assert_array_equal(boxes.boxes[:, 0], boxes.ids)
    assert boxes.num_invalid == 2 * (num_images - len(kept))


def test_of_very_many_invalid_entries_only_the_first_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batches, "MAX_INVALID_DESCRIBED", 3)
    document = {**GOOD, "annotations": [{"id": i} for i in range(100)]}
    boxes = boxes_of(write(tmp_path, document), skip_invalid=True)
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
        boxes_of(str(path), skip_invalid=skip_invalid)
    assert str(caught.value).startswith(f"{path}: {expected}")


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_beyond_all_floats_is_refused(tmp_path: Path, value: int):
    for changes in ({"bbox": [1, 2, 3, value]}, {"area": value}):
        uri = write(tmp_path, changed("annotations", 0, **changes))
        with pytest.raises(AnnotationError, match=r"annotations\[0\] .*expected") as caught:
            boxes_of(uri)
        assert len(str(caught.value)) < len(uri) + 200


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ({"file_name": ""}, "file_name is '', expected a non-empty string"),
        ({}, "file_name is missing"),
    ],
)
def test_an_image_without_a_file_name_is_refused(
    tmp_path: Path, name: dict[str, str], expected: str
):
    uri = write(tmp_path, changed("images", 1, **name))
    with pytest.raises(AnnotationError) as caught:
        load_annotations(uri)
    assert str(caught.value) == f"{uri}: images[1] (id -9): {expected}"
