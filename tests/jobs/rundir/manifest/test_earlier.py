"""Runs of version 2: one file for the manifest, no folders, other columns; read as they are."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from fcos_core.errors import ConfigError
from jobs.rundir.digest import rows_sha256
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.proof import prove, rows_digest
from jobs.rundir.rows import ManifestItem, Row, items_to_table, rows_to_table
from jobs.rundir.schemas import DETECTIONS, ShardFooter
from jobs.rundir.shard_reading import iterate_rows
from jobs.rundir.untrusted import earlier_rows
from tests.forging import encode_forged
from tests.jobs.rundir.strategies import (
    RUN_ID,
    a_record,
    a_segment,
    an_image,
    bad_row,
    images,
    ok_row,
)

METADATA = {b"run_id": RUN_ID.encode(), b"fingerprint": b"f" * 64, b"schema_version": b"2"}
ITEMS = [*images(6), a_segment(6, 3, image_id=7, first_frame=0, num_frames=2)]


def write_manifest(
    folder: Path, items: list[ManifestItem], metadata: Mapping[bytes, bytes] = METADATA
) -> RunDirectory:
    table = items_to_table(items).drop_columns(["problem"])
    (folder / "manifest.parquet").write_bytes(encode_forged(table, metadata))
    return RunDirectory(str(folder))


def as_earlier(rows: list[Row]) -> pa.Table:
    """The table of some rows as version 2 had it."""
    values = rows_to_table(rows).drop_columns(["note"]).to_pylist()
    for row in values:
        for found in row["detections"] or []:
            del found["category_name"]
    return pa.Table.from_pylist(values, schema=earlier_rows.SCHEMA)


def write_shard(run: RunDirectory, shard: int, rows: list[Row], version: int = 2) -> Path:
    footer = ShardFooter(
        run_id=RUN_ID,
        shard=shard,
        first_item_id=rows[0].item_id,
        last_item_id=rows[-1].item_id,
        num_rows=len(rows),
        rows_sha256=rows_sha256(rows_to_table(rows)),
        digest_class="exact",
        schema_version=version,
    )
    metadata = {key.encode(): value.encode() for key, value in footer.to_metadata().items()}
    path = Path(run.uri, "detections", f"shard-{shard:06d}.parquet")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode_forged(as_earlier(rows), metadata))
    return path


def rows_of(shard: int) -> list[Row]:
    items = [item for item in ITEMS if item.shard == shard]
    rows = [ok_row(item, frame) for item in items for frame in item.frames()]
    return [bad_row(ITEMS[0]), *rows[1:]] if shard == 0 else rows


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = write_manifest(tmp_path, ITEMS)
    assert run.create_run_record(a_record().model_copy(update={"schema_version": 2}))
    for shard in (0, 1, 3):
        write_shard(run, shard, rows_of(shard))
    return run


def test_the_items_are_those_of_the_file_and_nothing_is_known_of_problems(run: RunDirectory):
    assert run.exists()
    assert run.read_manifest() == ITEMS
    manifest = run.manifest()
    assert manifest.schema_version == 2
    assert manifest.uri == f"{run.uri}/manifest.parquet"
    assert manifest.shards.numbers.tolist() == [0, 1, 3]
    assert manifest.shards.num_rows.tolist() == [4, 2, 2]
    assert list(manifest.iterate(manifest.places([1]))) == [(1, ITEMS[4:6])]
    assert manifest.read_table().equals(items_to_table(ITEMS))
    assert manifest.names() == set()


def test_shards_lie_side_by_side_and_keep_the_digest_of_their_rows(run: RunDirectory):
    assert run.shard_uri(3) == f"{run.uri}/detections/shard-000003.parquet"
    assert run.shard_uri(3, 1) == f"{run.uri}/retries/1/shard-000003.parquet"
    proof = prove(run)
    assert (proof.planned, proof.ok, proof.quarantined) == (8, 7, 1)
    every = [row for shard in (0, 1, 3) for row in rows_of(shard)]
    assert proof.digest == rows_digest(run) == rows_sha256(rows_to_table(every))


def test_rows_have_no_note_and_their_categories_are_named_by_their_ids(run: RunDirectory):
    for shard, table in zip((0, 1, 3), iterate_rows(run), strict=True):
        assert table.schema.equals(DETECTIONS)
        assert table.equals(rows_to_table(rows_of(shard)))


@pytest.mark.parametrize(
    "columns", [["note"], ["uri", "note", "status"], ["detections"], ["item_id"]]
)
def test_some_columns_are_read_alone(run: RunDirectory, columns: list[str]):
    (table,) = iterate_rows(run, columns=columns, shards=[0])
    assert set(columns) <= set(table.column_names)
    assert table.select(columns).equals(rows_to_table(rows_of(0)).select(columns))


def test_rows_without_detections_are_completed_too():
    for rows in ([], [bad_row(ITEMS[0])], [ok_row(ITEMS[1]), bad_row(ITEMS[0])]):
        completed = earlier_rows.completed(as_earlier(rows))
        assert completed.equals(rows_to_table(rows))
        assert earlier_rows.completed(as_earlier(rows).slice(1)).equals(rows_to_table(rows[1:]))


def test_a_shard_of_this_version_with_the_columns_of_the_earlier_one_is_refused(run: RunDirectory):
    path = write_shard(run, 1, rows_of(1), version=3)
    assert f"{str(path)!r}: its columns are not those of a shard" in prove(run).problems[0]


@pytest.mark.parametrize(
    ("items", "changes", "reason"),
    [
        (ITEMS, {b"schema_version": b"3"}, "tables of version 3"),
        (ITEMS, {b"schema_version": b"1"}, "tables of version 1"),
        (ITEMS, {b"run_id": b""}, "its metadata lacks run_id"),
        ([replace(ITEMS[0], item_id=1)], {}, "item 0: item_id 1"),
        ([an_image(0, 3), an_image(1, 2)], {}, "item 1: shard 2 behind a higher one"),
        ([replace(ITEMS[0], width=0)], {}, "item 0: width 0, must be at least 1"),
    ],
)
def test_an_impossible_manifest_is_refused(
    tmp_path: Path, items: list[ManifestItem], changes: dict[bytes, bytes], reason: str
):
    run = write_manifest(tmp_path, items, {**METADATA, **changes})
    for read in (run.read_manifest, lambda: prove(run)):
        with pytest.raises(ConfigError, match=r"manifest\.parquet' is damaged: ") as caught:
            read()
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


def test_every_flipped_bit_of_the_manifest_is_named(run: RunDirectory):
    path = Path(run.uri, "manifest.parquet")
    sound = path.read_bytes()
    for place in range(0, len(sound), 173):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"manifest\.parquet' is damaged"):
            Manifest.read(run.uri)


def test_a_record_of_the_other_version_is_refused(run: RunDirectory):
    Path(run.run_uri).unlink()
    assert run.create_run_record(a_record())
    with pytest.raises(ConfigError, match="tables of version 3, this is 2"):
        run.read_run_record()
