"""The audit of a shard of images says the same whether it compares columns or rows."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rundir import audit
from jobs.rundir.audit import ShardAudit, audit_shard
from jobs.rundir.rows import Row, items_to_table, rows_to_table
from jobs.rundir.schemas import DETECTIONS
from tests.jobs.rundir.strategies import a_segment, bad_row, images, ok_row

VALUES: dict[str, list[Any]] = {
    "item_id": [0, 1, 5, -1, 2**63 - 1],
    "image_id": [1, 2, 6, -1, 2**63 - 1],
    "uri": ["", "/photos/0 ä#%.jpg", "/other.jpg"],
    "frame_index": [0, 1, None],
    "last_frame": [0, 1, None],
    "timestamp_s": [0.0, None],
    "width": [1, None],
    "height": [1, None],
    "status": ["ok", "quarantined", "odd", ""],
    "error_class": ["ImageError", None],
    "error": ["it is cut short", None],
    "note": ["mended", None],
    "detections": [[], None],
}


def by_rows(items: pa.Table, table: pa.Table, categories: set[int] | None) -> ShardAudit:
    """The audit without the comparison of whole columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "_are_planned_images", lambda *_: False)
        return audit_shard(items, table, categories)


@st.composite
def damaged(draw: st.DrawFn, rows: list[Row]) -> pa.Table:
    """Damage a table of rows in up to two small ways, or in none."""
    places = list(range(len(rows)))
    cells: list[tuple[int, str, Any]] = []
    for _ in range(draw(st.integers(0, 2))):
        way = draw(st.sampled_from(["drop", "repeat", "exchange", "cell", "cell", "cell"]))
        if not places:
            break
        at, other = draw(st.sampled_from(range(len(places)))), draw(st.integers(0, len(places) - 1))
        if way == "drop":
            del places[at]
        elif way == "repeat":
            places.insert(other, places[at])
        elif way == "exchange":
            places[at], places[other] = places[other], places[at]
        else:
            name = draw(st.sampled_from(list(VALUES)))
            cells.append((at, name, draw(st.sampled_from(VALUES[name]))))
    values = rows_to_table([rows[place] for place in places]).to_pylist()
    for at, name, value in cells:
        if at < len(values):
            values[at][name] = value
    return pa.Table.from_pylist(values, schema=DETECTIONS)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
def test_both_ways_find_the_same_in_each_column(name: str, value: Any):
    items = images(3)
    rows = [ok_row(items[0]), bad_row(items[1]), ok_row(items[2])]
    for place in range(3):
        values = rows_to_table(rows).to_pylist()
        values[place][name] = value
        table = pa.Table.from_pylist(values, schema=DETECTIONS)
        planned = items_to_table(items)
        assert audit_shard(planned, table) == by_rows(planned, table, None)


@pytest.mark.parametrize("name", ["item_id", "image_id", "uri", "status"])
def test_a_null_where_none_may_be_is_no_planned_row(name: str):
    items = images(2)
    values = rows_to_table([ok_row(item) for item in items]).to_pylist()
    values[0][name] = None
    table = pa.Table.from_pylist(values, schema=DETECTIONS)
    planned = items_to_table(items)
    found = audit_shard(planned, table)
    assert found == by_rows(planned, table, None)
    assert found.num_ok == 1
    assert found.problems


@given(st.lists(st.booleans(), min_size=1, max_size=5), st.data())
def test_both_ways_find_the_same_whatever_the_damage(are_ok: list[bool], data: st.DataObject):
    items = images(len(are_ok))
    rows = [ok_row(i) if is_ok else bad_row(i) for i, is_ok in zip(items, are_ok, strict=True)]
    table = data.draw(damaged(rows))
    categories = data.draw(st.sampled_from([None, set(range(100)), {1, 2, 3}]))
    planned = items_to_table(items)
    assert audit_shard(planned, table, categories) == by_rows(planned, table, categories)


def test_a_sound_shard_of_images_is_not_looked_at_row_by_row(monkeypatch: pytest.MonkeyPatch):
    items = images(3)
    rows = [ok_row(items[0]), bad_row(items[1]), ok_row(items[2])]
    monkeypatch.setattr(audit, "_audit_rows", lambda *_: pytest.fail("row by row"))
    found = audit_shard(items_to_table(items), rows_to_table(rows))
    assert (found.num_planned, found.num_ok, found.num_quarantined) == (3, 2, 1)
    assert (found.num_items, found.num_items_ok, found.num_items_quarantined) == (3, 2, 1)
    assert found.first_quarantined == f"{items[1].uri!r}: it is cut short"


def test_frames_are_counted_by_video_also_beside_images():
    video = a_segment(1, 0, image_id=2, first_frame=0, num_frames=2)
    items = [*images(1), video]
    rows = [ok_row(items[0]), ok_row(video, 0), bad_row(video, 1)]
    found = audit_shard(items_to_table(items), rows_to_table(rows))
    counts = found.videos[video.uri]
    assert (counts.planned, counts.ok, counts.quarantined, counts.missing) == (2, 1, 1, 0)
    assert found.problems == []


def test_a_missing_shard_lacks_all_that_its_items_plan():
    video = a_segment(1, 0, image_id=2, first_frame=0, num_frames=7)
    found = audit_shard(items_to_table([*images(1), replace(video)]), None)
    assert (found.num_planned, found.num_missing, found.num_items_missing) == (8, 8, 2)
    assert found.problems == []
