"""The reader takes nothing that is damaged or in the wrong place, and puts retries in theirs."""

# pyright: reportUnknownParameterType=false
# pyarrow has no types

from pathlib import Path

import pyarrow as pa
import pytest

from fcos_core.errors import StorageError
from jobs.rundir.digest import rows_sha256
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from jobs.rundir.rows import Row, rows_to_table, table_to_rows
from jobs.rundir.schemas import ShardFooter
from jobs.rundir.sealed_parquet import ColumnEncoding, encode_sealed
from jobs.rundir.shard_reading import DamagedShardError, iterate_rows, merge_retry, read_shard
from jobs.rundir.shard_writing import encode_shard
from tests.forging import encode_forged, metadata_of_file
from tests.jobs.rundir.strategies import (
    RUN_ID,
    a_segment,
    an_image,
    bad_row,
    begin_run,
    commit_rows,
    finish_run,
    images,
    ok_row,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Ten images in three shards, all committed."""
    run = begin_run(tmp_path / "run #1", images(10))
    finish_run(run)
    return run


def damage(run: RunDirectory, data: bytes) -> None:
    Path(run.shard_uri(1)).write_bytes(data)


def reason(run: RunDirectory) -> str:
    with pytest.raises(DamagedShardError) as caught:
        read_shard(run, 1, run_id=RUN_ID)
    message = str(caught.value)
    assert "\n" not in message
    assert run.shard_uri(1) in message
    return message


def test_a_shard_is_read_back_with_what_its_footer_says(run: RunDirectory):
    contents = read_shard(run, 1, run_id=RUN_ID)
    expected = rows_to_table([ok_row(item) for item in images(10)[4:8]])
    assert contents.table.equals(expected)
    footer = contents.footer
    assert (footer.run_id, footer.shard, footer.num_rows) == (RUN_ID, 1, 4)
    assert (footer.first_item_id, footer.last_item_id) == (4, 7)
    assert footer.digest_class == "exact"


def test_damage_is_told_in_words(run: RunDirectory):
    good = Path(run.shard_uri(1)).read_bytes()
    damage(run, b"")
    assert "empty" in reason(run)
    damage(run, good[:-100])
    assert "cut short" in reason(run)
    flipped = bytearray(good)
    flipped[300] ^= 8
    damage(run, bytes(flipped))
    assert "sha256 differs" in reason(run)
    damage(run, Path(run.shard_uri(2)).read_bytes())
    assert "holds shard 2" in reason(run)
    damage(run, encode_shard([ok_row(images(5)[4])], run_id="another", shard=1))
    assert "of run another" in reason(run)


def test_rows_that_are_not_those_of_the_footer_are_refused(run: RunDirectory):
    # What a fault between the digest and the file would make: a sealed file with a false footer.
    table = rows_to_table([ok_row(images(5)[4])])
    footer = ShardFooter(
        run_id=RUN_ID,
        shard=1,
        first_item_id=4,
        last_item_id=4,
        num_rows=1,
        rows_sha256="0" * 64,
        digest_class="exact",
    )
    metadata = footer.to_metadata()
    plain = ColumnEncoding()
    damage(run, encode_sealed(table, metadata, plain))
    assert "rows are not those" in reason(run)
    damage(run, encode_sealed(table, {**metadata, "num_rows": "2"}, plain))
    assert "1 rows, its footer says 2" in reason(run)
    damage(run, encode_sealed(table, {**metadata, "digest_class": "roughly"}, plain))
    assert "unknown digest_class 'roughly'" in reason(run)
    damage(run, encode_sealed(table, {**metadata, "schema_version": "99"}, plain))
    assert "version 99" in reason(run)
    damage(run, encode_sealed(table, {"run_id": RUN_ID}, plain))
    assert "footer lacks shard" in reason(run)
    damage(run, encode_sealed(pa.table({"x": [1]}), metadata, plain))
    assert "its columns are not those of a shard" in reason(run)


@pytest.mark.parametrize(
    "num_rows",
    [pytest.param(3_000), pytest.param(100_000_000, marks=pytest.mark.slow)],
)
def test_many_more_rows_than_planned_are_refused_unread(run: RunDirectory, num_rows: int):
    """A hundred million rows take 7 MB."""
    block = rows_to_table([ok_row(images(5)[4])]).take(pa.array([0] * min(num_rows, 1_000_000)))
    metadata = metadata_of_file(Path(run.shard_uri(1)))
    table = pa.concat_tables([block] * (num_rows // block.num_rows))
    damage(run, encode_forged(table, metadata))
    (problem,) = prove(run).problems
    assert f"its footer announces {num_rows} rows, there can be 1008 at most" in problem
    with pytest.raises(DamagedShardError, match="there can be 1008"):
        list(iterate_rows(run))


@pytest.mark.parametrize("column", ["uri", "status", "error_class", "error"])
def test_a_text_that_is_not_utf8_is_refused(run: RunDirectory, column: str):
    table = rows_to_table([bad_row(images(5)[4])])
    place = table.schema.get_field_index(column)
    text = pa.array([b"\xff"], pa.binary()).view(pa.string())
    table = table.set_column(place, table.schema.field(place), text)
    metadata = metadata_of_file(Path(run.shard_uri(1)))
    digest = {b"num_rows": b"1", b"rows_sha256": rows_sha256(table).encode()}
    damage(run, encode_forged(table, {**metadata, **digest}))
    assert "UTF8" in reason(run)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"num_rows", b"four", "invalid literal"),
        (b"num_rows", b"9" * 5000, "digits"),
        (b"shard", b"\xff", "invalid literal"),
        (b"schema_version", b"2.0", "invalid literal"),
        (b"run_id", b"\xff", "foreign"),
    ],
)
def test_metadata_that_is_no_number_is_refused(
    run: RunDirectory, name: bytes, value: bytes, expected: str
):
    table = rows_to_table([ok_row(item) for item in images(10)[4:8]])
    metadata = metadata_of_file(Path(run.shard_uri(1)))
    damage(run, encode_forged(table, {**metadata, name: value}))
    assert expected in reason(run)
    damage(run, encode_forged(table, {**metadata, b"\xff": b"\xff", b"unknown": b"1"}))
    assert prove(run).complete


def test_a_shard_that_is_not_there_is_a_storage_error_but_no_damage(run: RunDirectory):
    with pytest.raises(StorageError, match="No such file") as caught:
        read_shard(run, 77)
    assert not isinstance(caught.value, DamagedShardError)


def test_rows_come_in_manifest_order_and_only_the_columns_asked_for(run: RunDirectory):
    tables = list(iterate_rows(run, columns=["status", "item_id"]))
    assert {tuple(table.column_names) for table in tables} == {("status", "item_id")}
    assert pa.concat_tables(tables).column("item_id").to_pylist() == list(range(10))
    assert sum(table.num_rows for table in iterate_rows(run)) == 10


def test_a_damaged_or_foreign_shard_is_not_read_past(run: RunDirectory):
    damage(run, encode_shard([ok_row(images(5)[4])], run_id="another", shard=1))
    for columns in (None, ["item_id"]):
        with pytest.raises(DamagedShardError, match="foreign"):
            list(iterate_rows(run, columns=columns))


def statuses(table: pa.Table) -> list[tuple[int, int | None, str, str | None]]:
    return [
        (row.item_id, row.frame_index, row.status, row.error)
        for row in table_to_rows(rows_to_table(table_to_rows(table)))
    ]


def test_the_newest_ok_row_wins_and_a_failed_retry_changes_nothing(tmp_path: Path):
    items = images(4)
    run = begin_run(tmp_path, items)
    commit_rows(run, 0, [ok_row(items[0]), *(bad_row(item, error="first") for item in items[1:])])
    commit_rows(run, 0, [bad_row(items[1], error="again"), ok_row(items[2])], attempt=1)
    commit_rows(run, 0, [ok_row(items[1]), bad_row(items[2], error="again")], attempt=2)
    (table,) = iterate_rows(run)
    assert statuses(table) == [
        (0, None, "ok", None),
        (1, None, "ok", None),
        (2, None, "ok", None),
        (3, None, "quarantined", "first"),
    ]
    (only,) = iterate_rows(run, columns=["status"])
    assert only.column("status").to_pylist() == ["ok", "ok", "ok", "quarantined"]


@pytest.mark.parametrize(
    ("retried", "expected"),
    [
        pytest.param([True, True, True], ["ok", "ok", "ok"], id="all frames"),
        pytest.param([True, False, False], ["ok", "quarantined", "quarantined"], id="some frames"),
        pytest.param([False], ["quarantined"], id="failed at the first frame again"),
    ],
)
def test_a_failed_segment_gets_the_frames_of_its_retry(retried: list[bool], expected: list[str]):
    item = a_segment(1, 0, image_id=2, first_frame=7, num_frames=3)
    before = rows_to_table([ok_row(an_image(0, 0)), bad_row(item, 7), ok_row(an_image(2, 0))])
    frames: list[Row] = [
        ok_row(item, 7 + i) if good else bad_row(item, 7 + i) for i, good in enumerate(retried)
    ]
    merged = merge_retry(before, rows_to_table(frames))
    found = [(row.item_id, row.frame_index, row.status) for row in table_to_rows(merged)]
    middle = [(1, 7 + i, status) for i, status in enumerate(expected)]
    assert found == [(0, None, "ok"), *middle, (2, None, "ok")]
