"""The digest: what ``docs/tables.md`` writes down, no more and no less."""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rundir.digest import RowsDigest, canonical_rows, rows_sha256
from jobs.rundir.rows import Row, rows_to_table
from tests.jobs.rundir.strategies import bad_row, images, ok_row, rows

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "tables.md"
ROW = Row.ok(
    item_id=1, image_id=2, uri="ä", width=3, height=4,
    boxes=[[0, 1, 2, 3]], scores=[0.5], category_ids=[7],
)  # fmt: skip


@pytest.fixture(scope="module")
def documented() -> Callable[[list[dict[str, Any]]], str]:
    """The code that the documentation gives."""
    (code,) = re.findall(r"```python\n(import hashlib.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 -- our own documentation
    return names["digest"]


@given(st.lists(rows(), max_size=6))
def test_the_documented_code_gives_the_same(
    documented: Callable[[list[dict[str, Any]]], str], some: list[Row]
):
    # struct refuses NaN payloads no more than numpy does, but turns a signalling NaN into a quiet
    # one, so it sees every other value.
    quiet = [
        row
        for row in some
        if not np.isnan(row.boxes).any()
        and not np.isnan(row.scores).any()
        and not math.isnan(row.timestamp_s or 0.0)
    ]
    table = rows_to_table(quiet)
    assert rows_sha256(table) == documented(table.to_pylist())


def test_the_bytes_of_one_row_by_hand():
    expected = bytes.fromhex(
        "0100000000000000 0200000000000000"  # item_id, image_id
        "00 00000000 00 00000000 00 0000000000000000"  # no frame_index, last_frame, timestamp_s
        "01 03000000 01 04000000"  # width, height
        "00 01"  # no error_class, but detections
        "02000000 02000000 00000000 01000000"  # lengths of uri, status, error_class; detections
        "c3a4 6f6b"  # "ä", "ok"
        "07000000 0000003f 00000000 0000803f 00000040 00004040"
    )
    assert list(canonical_rows(rows_to_table([ROW]))) == [expected]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(replace(ROW, item_id=2), id="item_id"),
        pytest.param(replace(ROW, image_id=3), id="image_id"),
        pytest.param(replace(ROW, uri="a"), id="uri"),
        pytest.param(replace(ROW, frame_index=0), id="frame_index 0 is not null"),
        pytest.param(replace(ROW, last_frame=0), id="last_frame 0 is not null"),
        pytest.param(replace(ROW, timestamp_s=0.0), id="timestamp_s 0 is not null"),
        pytest.param(replace(ROW, width=4), id="width"),
        pytest.param(replace(ROW, height=None), id="height"),
        pytest.param(replace(ROW, error_class=""), id="error_class empty is not null"),
        pytest.param(replace(ROW, status="quarantined"), id="status and null detections"),
        pytest.param(replace(ROW, scores=np.array([0.25], np.float32)), id="score"),
        pytest.param(replace(ROW, category_ids=np.array([8], np.int32)), id="category_id"),
        pytest.param(
            replace(ROW, boxes=np.array([[-0.0, 1, 2, 3]], np.float32)), id="the sign of zero"
        ),
        pytest.param(
            replace(ROW, boxes=np.array([[0, 1, 2, 3.0000002]], np.float32)), id="the last bit"
        ),
        pytest.param(
            replace(ROW, boxes=np.array([[1, 0, 2, 3]], np.float32)), id="coordinates exchanged"
        ),
    ],
)
def test_every_field_counts(changed: Row):
    assert rows_sha256(rows_to_table([changed])) != rows_sha256(rows_to_table([ROW]))


def test_the_wording_of_a_message_does_not_count():
    item = images(1)[0]
    one, other = (rows_to_table([bad_row(item, error=text)]) for text in ("a", "quite another"))
    assert rows_sha256(one) == rows_sha256(other)


def test_order_counts_and_the_cut_into_tables_does_not():
    some = [ok_row(item) for item in images(9)]
    whole = rows_sha256(rows_to_table(some))
    assert rows_sha256(rows_to_table(some[::-1])) != whole
    digest = RowsDigest()
    for start in range(0, 9, 2):
        digest.update(rows_to_table(some[start : start + 2]))
    assert digest.hexdigest() == whole


def test_no_rows_are_the_digest_of_nothing():
    assert rows_sha256(rows_to_table([])) == hashlib.sha256().hexdigest()
