"""Manifests that no planner writes are refused before anything is counted by them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fcos_core.errors import ConfigError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.fingerprint import fingerprint
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.proof import prove
from jobs.rundir.rows import items_to_table
from jobs.rundir.sampled_frames import count_frames, read_steps, write_sampling
from jobs.rundir.schemas import MANIFEST
from jobs.rundir.untrusted.item_values import table_of_items
from jobs.rundir.untrusted.limits import MAX_SHARD_ROWS
from jobs.settings.detect import DetectConfig
from tests.forging import forge_manifest, shards_of
from tests.jobs.rundir.strategies import a_segment, an_image, images

METADATA = {b"run_id": b"0123456789abcdef", b"fingerprint": b"f" * 64, b"schema_version": b"3"}
SEGMENT = a_segment(1, 0, image_id=2, first_frame=4, num_frames=4)
PLANNED = shards_of(
    items_to_table([an_image(0, 0), SEGMENT, an_image(2, 3)]), part=0, first=0
)  # fmt: skip
"""What the index of a manifest says whose part says something impossible."""


def write(
    folder: Path,
    table: pa.Table,
    metadata: Mapping[bytes, bytes] = METADATA,
    shards: ShardTable | None = None,
) -> RunDirectory:
    forge_manifest(folder, table, metadata, shards=shards)
    return RunDirectory(str(folder))


def reason(run: RunDirectory) -> str:
    """Why the part is refused, by all readers of the manifest alike."""
    with pytest.raises(ConfigError, match=r"/manifest/part-.*\.parquet' is damaged: ") as caught:
        prove(run)
    manifest = run.manifest()
    for read in (run.read_manifest, manifest.read_table, lambda: list(manifest.iterate())):
        with pytest.raises(ConfigError) as again:
            read()
        assert str(again.value) == str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="every frame"),
        pytest.param({"sampling": "5,7*2 1,2*2"}, id="some frames"),
        pytest.param({"sampling": " ", "num_frames": 1}, id="one frame of some"),
        pytest.param({"num_frames": MAX_SHARD_ROWS - 1}, id="the largest shard"),
        pytest.param({"first_frame": 2**31 - 4}, id="the last frame there can be"),
        pytest.param({"image_id": 2**63 - 4}, id="the last ids there can be"),
    ],
)
def test_what_a_planner_may_write_is_accepted(tmp_path: Path, changes: dict[str, Any]):
    items = [an_image(0, 0), replace(SEGMENT, **changes), an_image(2, 3)]
    run = write(tmp_path, items_to_table(items))
    assert run.read_manifest() == items
    shards = run.manifest().shards
    assert shards.numbers.tolist() == [0, 3]
    assert shards.num_rows.tolist() == [1 + (items[1].num_frames or 0), 1]


def test_an_image_may_have_the_largest_id(tmp_path: Path):
    items = [replace(an_image(0, 0), image_id=2**63 - 1)]
    assert write(tmp_path, items_to_table(items)).read_manifest() == items


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_frames": 2**31 - 1}, "2147483647 frames from frame 4, image 2 on: the last number"),
        ({"num_frames": 2**31 - 1, "first_frame": 0}, "2147483648 rows are planned, must be at"),
        ({"num_frames": 0}, "item 1: num_frames 0, must be at least 1"),
        ({"num_frames": -5}, "item 1: num_frames -5, must be at least 1"),
        ({"first_frame": -1}, "item 1: first_frame -1, must be at least 0"),
        ({"num_frames": None}, "item 1: num_frames None of kind video_segment"),
        ({"image_id": 2**63 - 3}, "image 9223372036854775805 on: the last number is too large"),
        ({"kind": "image"}, "item 1: first_frame 4 of kind image"),
        ({"kind": "film"}, "item 1: kind 'film'"),
        ({"item_id": 7}, "item 1: item_id 7"),
        ({"shard": -1}, "item 1: shard -1, must be at least 0"),
        ({"shard": 5}, "item 2: shard 3 behind a higher one"),
        ({"width": 0}, "item 1: width 0, must be at least 1"),
        ({"size_bytes": -1}, "item 1: size_bytes -1, must be at least 0"),
        ({"time_base_den": 0}, "item 1: time_base_den 0, must be at least 1"),
        ({"sampling": "1*2000000000 1*2000000000"}, "sampling takes 2000000001 frames"),
        ({"sampling": "1*3 1*2"}, "sampling: 4 frames but 3 times"),
        ({"sampling": "1*3 1*3 1*3"}, "sampling: '1*3 1*3' is no step"),
        ({"sampling": "0*3 1*3"}, "sampling: its frames do not rise"),
        ({"sampling": "1*3 9999999999999999999*3"}, "sampling: its times are too far apart"),
        ({"sampling": "9999999999*3 1*3"}, "sampling takes 4 frames up to 30000000001"),
        ({"sampling": "some"}, "sampling: 'some' is no step"),
    ],
)
def test_an_impossible_item_is_named(tmp_path: Path, changes: dict[str, Any], expected: str):
    items = [an_image(0, 0), replace(SEGMENT, **changes), an_image(2, 3)]
    assert expected in reason(write(tmp_path, items_to_table(items), shards=PLANNED))


def test_a_text_that_is_not_utf8_is_named(tmp_path: Path):
    table = items_to_table(images(2))
    names = pa.array([b"/a.jpg", b"/\xff.jpg"], pa.binary()).view(pa.string())
    table = table.set_column(3, MANIFEST.field("uri"), names)
    assert "UTF8" in reason(write(tmp_path, table))


@pytest.mark.parametrize(
    ("column", "kind"), [("num_frames", pa.int64()), ("item_id", pa.string()), ("uri", pa.binary())]
)
def test_a_column_of_another_type_is_refused(tmp_path: Path, column: str, kind: pa.DataType):
    table = items_to_table(images(2))
    place = table.schema.get_field_index(column)
    changed = table.set_column(place, column, table.column(column).cast(kind))
    with pytest.raises(ConfigError, match="tables of version"):
        prove(write(tmp_path, changed))


@pytest.mark.parametrize(
    "num_items",
    [pytest.param(4_400_000), pytest.param(100_000_000, marks=pytest.mark.slow)],
)
def test_more_items_than_the_bytes_of_a_manifest_can_hold_are_refused_unread(
    tmp_path: Path, num_items: int
):
    """A hundred million items take 7 MB."""
    block = items_to_table(images(1)).take(pa.array(np.zeros(1_100_000, np.int64)))
    table = pa.concat_tables([block] * (num_items // len(block) + 1)).slice(0, num_items)
    first_items = np.arange(0, num_items, MAX_SHARD_ROWS)
    sizes = np.diff(first_items, append=num_items).astype(np.int32)
    shards = ShardTable(
        numbers=np.arange(len(sizes), dtype=np.int32),
        parts=np.zeros(len(sizes), np.int32),
        first_items=first_items,
        num_items=sizes,
        num_rows=sizes,
    )
    part = forge_manifest(tmp_path, table, METADATA, shards=shards)
    run = RunDirectory(str(tmp_path))
    assert part.stat().st_size < 2**20 + num_items / 14
    assert f"its footer announces {num_items} rows, there can be" in reason(run)


def test_a_table_that_takes_too_much_memory_is_refused():
    """Row groups that are small, each for itself."""
    batch = items_to_table(images(1)).take(pa.array(np.zeros(4_000_000, np.int64))).to_batches()[0]
    assert table_of_items([batch], 1).num_rows == len(batch)
    with pytest.raises(ValueError, match="its 1000 bytes unpack to too much"):
        table_of_items([batch] * 10, 1000)


def test_a_shard_of_more_rows_cannot_be_asked_for():
    with pytest.raises(ValueError, match="less than or equal to 1000000"):
        DetectConfig(inputs=("x",), out="y", shard_size=MAX_SHARD_ROWS + 1)


def test_frames_are_counted_as_they_are_listed():
    random = np.random.default_rng(0)
    for num_steps in (0, 1, 2, 500):
        frames = 7 + np.concatenate([[0], np.cumsum(random.integers(1, 3, num_steps))])
        text = write_sampling(frames, frames * 512)
        assert count_frames(text, 7) == (len(frames), frames[-1])
        assert read_steps(text.split(" ")[0], 7).tolist() == frames.tolist()


FIELDS = {"weights_sha256": "a" * 64, "preset": "torchvision", "batch_size": 8}
SOUND = {
    **METADATA,
    b"fingerprint": fingerprint(FIELDS).encode(),
    b"fingerprint_fields": json.dumps(FIELDS).encode(),
    b"skipped": b"3",
    b"annotations": b'"/x.json"',
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({b"run_id": b""}, "its metadata lacks run_id"),
        ({b"skipped": b"many"}, "skipped 'many', must be a number"),
        ({b"skipped": b"-1"}, "skipped '-1', must be a number"),
        ({b"skipped": b"9" * 5000}, "skipped '999"),
        ({b"annotations": b"\xff"}, "its annotations cannot be read as JSON"),
        ({b"annotations": b"[1]"}, r"annotations \[1\], must be a uri or null"),
        ({b"fingerprint_fields": b"[" * 100_000}, "its fingerprint_fields cannot be read as JSON"),
        ({b"fingerprint_fields": b"1"}, "its fingerprint_fields are no object"),
        ({b"fingerprint_fields": b"{}"}, "its fingerprint is not that of its fingerprint_fields"),
    ],
)
def test_impossible_metadata_is_named(tmp_path: Path, changes: dict[bytes, bytes], expected: str):
    table = items_to_table(images(2))
    assert write(tmp_path, table, SOUND).manifest().metadata["skipped"] == "3"
    assert write(tmp_path, table, {**SOUND, b"\xff": b"\xff"}).manifest().metadata
    with pytest.raises(
        ConfigError, match=rf"index-000000\.parquet' is damaged: {expected}"
    ) as caught:
        prove(write(tmp_path, table, {**SOUND, **changes}))
    assert "\n" not in str(caught.value)
