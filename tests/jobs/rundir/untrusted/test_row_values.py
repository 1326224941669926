"""Rows that no detector writes are refused with their place, though every hash is right."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.rundir.rows import Row, rows_to_table
from jobs.rundir.shard_reading import DamagedShardError, iterate_rows
from jobs.rundir.shard_writing import encode_shard
from jobs.rundir.untrusted.row_values import require_possible_rows
from tests.jobs.rundir.strategies import RUN_ID, bad_row, begin_run, finish_run, images, ok_row

ITEMS = images(10)
WIDTH, HEIGHT = 640, 480


def a_row(**changes: Any) -> Row:
    """The row of item 5, with two detections."""
    row = Row.ok(
        item_id=5,
        image_id=6,
        uri=ITEMS[5].uri,
        width=WIDTH,
        height=HEIGHT,
        boxes=[[0, 0, WIDTH, HEIGHT], [3, 4, 3, 4]],
        scores=[1, 0.5],
        category_ids=[1, 90],
    )
    arrays = {
        name: np.array(value, getattr(row, name).dtype)
        for name, value in changes.items()
        if name in {"boxes", "scores", "category_ids"}
    }
    return replace(row, **{**changes, **arrays})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = begin_run(tmp_path / "run", ITEMS)
    finish_run(run)
    return run


def forge(run: RunDirectory, row: Row) -> None:
    rows = [ok_row(ITEMS[4]), row, ok_row(ITEMS[6]), bad_row(ITEMS[7])]
    Path(run.shard_uri(1)).write_bytes(encode_shard(rows, run_id=RUN_ID, shard=1))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="boxes at the sides, and of no area"),
        pytest.param({"boxes": [[0, 0, np.nextafter(np.float32(640), 999), 1]] * 2}, id="rounded"),
        pytest.param({"boxes": [[-0.0, 0, 1, 1]] * 2}, id="minus zero"),
        pytest.param({"scores": [0.5, 0.5]}, id="equal scores"),
        pytest.param({"scores": [1, 0]}, id="the least and the largest score"),
    ],
)
def test_what_a_detector_may_write_is_accepted(run: RunDirectory, changes: dict[str, Any]):
    forge(run, a_row(**changes))
    assert prove(run).complete


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scores": [math.nan, 0.5]}, "row 1, detection 0: score nan, must be from 0 to 1"),
        ({"scores": [1.5, 0.5]}, "row 1, detection 0: score 1.5, must"),
        ({"scores": [0.5, -0.25]}, "row 1, detection 1: score -0.25, must"),
        ({"scores": [0.5, 0.75]}, "row 1, detection 1: score 0.75 behind 0.5"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, math.inf, 1]]}, "row 1, detection 1: box 0.0 0.0 inf 1.0"),
        ({"boxes": [[math.nan, 0, 1, 1]] * 2}, "row 1, detection 0: box nan"),
        ({"boxes": [[2, 0, 1, 1]] * 2}, "row 1, detection 0: box 2.0 0.0 1.0 1.0 is not inside"),
        ({"boxes": [[0, 2, 1, 1]] * 2}, "row 1, detection 0: box 0.0 2.0 1.0 1.0 is not inside"),
        ({"boxes": [[-1, 0, 1, 1]] * 2}, "row 1, detection 0: box -1.0"),
        ({"boxes": [[0, 0, 640.01, 1]] * 2}, "not inside its image of 640 x 480 pixels"),
        ({"boxes": [[0, 0, 1, 481]] * 2}, "not inside its image of 640 x 480 pixels"),
        ({"width": 0}, "row 1: width 0, must be at least 1"),
        ({"height": -1}, "row 1: height -1, must be at least 1"),
        ({"frame_index": -1}, "row 1: frame_index -1, must be at least 0"),
        ({"timestamp_s": math.nan}, "row 1: timestamp_s nan"),
    ],
)
def test_an_impossible_value_is_named_and_read_by_nobody(
    run: RunDirectory, changes: dict[str, Any], reason: str
):
    forge(run, a_row(**changes))
    proof = prove(run)
    assert (proof.missing, len(proof.problems)) == (4, 1)
    assert run.shard_uri(1) in proof.problems[0]
    assert reason in proof.problems[0]
    with pytest.raises(DamagedShardError):
        list(iterate_rows(run))


def test_a_category_that_the_run_does_not_have_is_named(run: RunDirectory):
    forge(run, a_row(category_ids=[91, -7]))
    (problem,) = prove(run).problems
    assert problem == (
        f"{run.shard_uri(1)!r}: 2 category ids that run.json does not have, the first: -7"
    )


def test_columns_that_were_not_read_are_not_asked_for():
    table = rows_to_table([a_row(), bad_row(ITEMS[5])])
    for names in (["detections"], ["item_id", "status"], ["detections", "width"], []):
        require_possible_rows(table.select(names))
    with pytest.raises(ValueError, match="box -1"):
        require_possible_rows(
            rows_to_table([a_row(boxes=[[-1, 0, 1, 1]] * 2)]).select(["detections"])
        )
