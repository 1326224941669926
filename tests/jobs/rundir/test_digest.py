"""The digest: what ``docs/tables.md`` writes down, no more and no less."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

import hashlib
import importlib.util
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rundir.digest import RowsDigest, TreeDigest, canonical_rows, rows_sha256
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove, rows_digest
from jobs.rundir.rows import Row, rows_to_table
from jobs.rundir.schemas import DETECTION, DETECTIONS, MANIFEST, MANIFEST_INDEX, SUPERSEDED
from jobs.rundir.shard_reading import merge_retry, read_shard
from tests.forging import metadata_of_file
from tests.jobs.rundir.strategies import (
    bad_row,
    begin_run,
    commit_rows,
    images,
    ok_row,
    rows,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "tables.md"
ROW = Row.ok(
    item_id=1, image_id=2, uri="ä", width=3, height=4,
    boxes=[[0, 1, 2, 3]], scores=[0.5], category_ids=[7],
)  # fmt: skip


def documented_names(**names: Any) -> dict[str, Any]:
    """What the first block of Python in the documentation defines."""
    (code,) = re.findall(r"```python\n(import hashlib.*?)```", DOCUMENT.read_text(), re.DOTALL)
    exec(code, names)  # noqa: S102 -- our own documentation
    return names


@pytest.fixture(scope="module")
def documented() -> Callable[[list[dict[str, Any]]], str]:
    """The code that the documentation gives for the digest of rows."""
    return documented_names()["digest"]


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


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Eleven images in four shards, without retries; shards as far apart as there are folders."""
    items = [
        replace(item, shard=number)
        for item, number in zip(
            images(11), [0] * 3 + [9_999] * 3 + [10_000] * 4 + [1_000_000], strict=True
        )
    ]
    run = begin_run(tmp_path / "run", items)
    for shard, planned in run.manifest().iterate():
        of_shard = [bad_row(i) if i.item_id % 4 == 1 else ok_row(i) for i in planned]
        commit_rows(run, shard, of_shard)
    return run


def files_of(run: RunDirectory) -> list[Path]:
    files = sorted(Path(run.uri).glob("detections/*/*.parquet"))
    assert len(files) == 4
    return files


def test_the_digest_of_a_run_is_that_of_its_footers_and_of_its_rows(run: RunDirectory):
    footers = hashlib.sha256()
    for path in files_of(run):
        footers.update(bytes.fromhex(metadata_of_file(path)[b"rows_sha256"].decode()))
    rows = [pq.read_table(path).to_pylist() for path in files_of(run)]
    names = documented_names()
    proof = prove(run)
    assert proof.digest == footers.hexdigest() == names["run_digest"](rows)
    assert rows_digest(run) == names["digest"]([row for of_shard in rows for row in of_shard])
    assert [names["digest"](of_shard) for of_shard in rows] == [
        read_shard(run, number).footer.rows_sha256 for number in run.list_shards().shards.tolist()
    ]


def test_a_retry_counts_in_the_digest_of_its_shard(run: RunDirectory):
    before = [rows_sha256(pq.read_table(path)) for path in files_of(run)]
    mended = [item for item in run.read_manifest() if item.item_id == 1]
    commit_rows(run, 0, [ok_row(item) for item in mended], attempt=1)
    merged = merge_retry(read_shard(run, 0).table, read_shard(run, 0, attempt=1).table)
    tree = TreeDigest()
    for digest in [rows_sha256(merged), *before[1:]]:
        tree.update(digest)
    assert prove(run).digest == tree.hexdigest()


class ArrowForDuckdb(ModuleType):
    """Reads what the documentation asks DuckDB for, where that is not installed."""

    class Found:
        def __init__(self, table: pa.Table) -> None:
            self.columns = table.column_names
            self._rows = [tuple(row.values()) for row in table.to_pylist()]

        def fetchall(self) -> list[tuple[Any, ...]]:
            return self._rows

    def sql(self, text: str) -> Found:
        query = re.fullmatch(r"select \* from '(.*)' order by item_id, frame_index", text)
        assert query is not None
        order = [("item_id", "ascending"), ("frame_index", "ascending")]
        return self.Found(pq.read_table(query[1]).sort_by(order))


def test_the_documented_queries_give_what_verify_says(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if importlib.util.find_spec("duckdb") is None:
        monkeypatch.setitem(sys.modules, "duckdb", ArrowForDuckdb("duckdb"))
    (code,) = re.findall(r"```python\n(import glob.*?)```", DOCUMENT.read_text(), re.DOTALL)
    exec(code.replace("RUN/", f"{run.uri}/"), documented_names())  # noqa: S102
    assert capsys.readouterr().out.split() == [prove(run).digest, rows_digest(run)]


def test_every_column_of_the_tables_of_a_run_is_documented():
    text = DOCUMENT.read_text()
    schemas = (DETECTIONS, MANIFEST, MANIFEST_INDEX, SUPERSEDED)
    names = {name for schema in schemas for name in schema.names}
    names |= {field.name for field in DETECTION}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)] == []


def test_names_of_categories_and_notes_do_not_count():
    plain = rows_sha256(rows_to_table([ROW]))
    assert rows_sha256(rows_to_table([ROW], {7: "bus"})) == plain
    assert rows_sha256(rows_to_table([replace(ROW, note="mended")])) == plain
