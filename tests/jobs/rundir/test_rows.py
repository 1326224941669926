"""Rows and items survive the way into a table and back."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.errors import ConfigError
from jobs.rundir.rows import (
    ManifestItem,
    Row,
    items_to_table,
    rows_to_table,
    table_to_items,
    table_to_rows,
)
from jobs.rundir.schemas import DETECTIONS, MANIFEST
from tests.jobs.rundir.strategies import a_segment, bad_row, images, ok_row, rows


def same(one: Row, other: Row) -> bool:
    for field in fields(Row):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                return False
        elif a != b and not (a != a and b != b):
            return False
    return True


@given(st.lists(rows(), max_size=6))
def test_rows_survive_a_table_bit_for_bit(some: list[Row]):
    table = rows_to_table(some)
    assert table.schema.equals(DETECTIONS, check_metadata=True)
    table.validate(full=True)
    back = table_to_rows(table)
    assert len(back) == len(some)
    assert all(same(one, other) for one, other in zip(some, back, strict=True))


def test_a_slice_of_a_table_gives_its_own_rows():
    some = [ok_row(item) for item in images(10)]
    back = table_to_rows(rows_to_table(some).slice(4, 3))
    assert all(same(one, other) for one, other in zip(some[4:7], back, strict=True))


def test_no_objects_is_an_empty_list_and_quarantine_is_null():
    item = images(1)[0]
    empty = Row.ok(
        item_id=0, image_id=1, uri="x", width=1, height=1, boxes=[], scores=[], category_ids=[]
    )
    table = rows_to_table([empty, bad_row(item)])
    assert table.column("detections").to_pylist() == [[], None]


def test_boxes_and_scores_must_go_together():
    with pytest.raises(AssertionError):
        Row.ok(
            item_id=0, image_id=1, uri="x", width=1, height=1,
            boxes=[[0, 0, 1, 1]], scores=[0.5, 0.4], category_ids=[1],
        )  # fmt: skip


def test_a_message_with_a_name_that_is_not_utf8_is_kept_escaped():
    row = bad_row(images(1)[0], error="cannot open /photos/\udcff.jpg")
    (error,) = rows_to_table([row]).column("error").to_pylist()
    assert error == "cannot open /photos/\\udcff.jpg"


def test_the_coordinates_keep_their_names():
    row = Row.ok(
        item_id=0, image_id=1, uri="x", width=9, height=9,
        boxes=[[1, 2, 3, 4]], scores=[0.5], category_ids=[7],
    )  # fmt: skip
    assert rows_to_table([row], {7: "bus"}).column("detections").to_pylist() == [
        [
            {
                "category_id": 7,
                "category_name": "bus",
                "score": 0.5,
                "x_min": 1,
                "y_min": 2,
                "x_max": 3,
                "y_max": 4,
            }
        ]
    ]


def test_items_survive_a_table():
    items = [*images(3), a_segment(3, 1, image_id=4, first_frame=0, num_frames=9)]
    table = items_to_table(items)
    assert table.schema.equals(MANIFEST, check_metadata=True)
    assert table_to_items(table) == items
    assert [field.name for field in fields(ManifestItem)] == MANIFEST.names


def test_a_file_name_that_is_not_utf8_is_refused_by_name():
    item = ManifestItem(item_id=7, shard=0, kind="image", uri="/photos/\udcff.jpg", image_id=1)
    with pytest.raises(ConfigError, match=r"item 7, '/photos/\\udcff.jpg'.*not UTF-8"):
        items_to_table([item])
