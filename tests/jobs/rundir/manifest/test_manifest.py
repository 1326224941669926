"""A manifest in parts hands out what was planned, and no part of another run or place."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.errors import ConfigError, StorageError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest import part
from jobs.rundir.manifest.index import Growth
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.manifest.writing import Extension, write_manifest
from jobs.rundir.proof import prove
from jobs.rundir.rows import ManifestItem, items_to_table
from jobs.rundir.schemas import SUPERSEDED
from tests.forging import forge_index, forge_manifest, name_parts_as_they_are, shards_of
from tests.jobs.rundir.manifest.manifests import METADATA, begin, extend, tables
from tests.jobs.rundir.strategies import a_segment, an_image, begin_run, finish_run, images

ITEMS = images(20)  # five shards


def a_run(folder: Path) -> Manifest:
    """Twenty images in five shards and three parts."""
    return begin(folder, tables(ITEMS, shards_per_part=2))


def part_of(folder: Path, number: int) -> Path:
    (path,) = (folder / "manifest").glob(f"part-{number:06d}-*.parquet")
    return path


def refusal(folder: Path, read: Callable[[Manifest], object] = lambda m: list(m.iterate())) -> str:
    """Why the manifest is refused, in one line, by a reader of its items."""
    with pytest.raises((ConfigError, StorageError)) as caught:
        read(Manifest.read(str(folder)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[ManifestItem], int]:
    """Draw images and segments in shards with gaps between, and the shards of a part."""
    items: list[ManifestItem] = []
    shard = draw(st.integers(0, 3))
    for _ in range(draw(st.integers(1, 8))):
        for _ in range(draw(st.integers(1, 6))):
            number = len(items)
            if draw(st.booleans()):
                items.append(an_image(number, shard))
                continue
            num_frames = draw(st.integers(1, 5))
            video = a_segment(number, shard, image_id=number, first_frame=0, num_frames=num_frames)
            items.append(replace(video, problem=draw(st.none() | st.just("no video stream"))))
        shard += draw(st.integers(1, 3))
    return items, draw(st.integers(1, 4))


@settings(max_examples=30)
@given(plans(), st.integers(1, 7), st.data())
def test_items_are_handed_out_as_planned_across_parts_and_row_groups(
    plan: tuple[list[ManifestItem], int], rows_per_group: int, data: st.DataObject
):
    items, shards_per_part = plan
    planned = {
        item.shard: [other for other in items if other.shard == item.shard] for item in items
    }
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, "_ROWS_PER_GROUP", rows_per_group)
        manifest = begin(Path(folder), tables(items, shards_per_part=shards_per_part))
        assert dict(manifest.iterate()) == planned
        assert manifest.read_table().equals(items_to_table(items))
        numbers = data.draw(st.sets(st.sampled_from([*planned, 1_000_000])))
        some = manifest.iterate(manifest.places(sorted(numbers)))
        assert list(some) == [(n, planned[n]) for n in sorted(numbers & planned.keys())]
        shards = manifest.shards
        assert shards.numbers.tolist() == list(planned)
        assert shards.num_items.tolist() == [len(found) for found in planned.values()]
        assert shards.total_items == len(items)
        assert shards.total_rows == sum(item.num_frames or 1 for item in items)


def test_a_shard_lies_in_one_part_and_says_which(tmp_path: Path):
    shards = a_run(tmp_path).shards
    assert shards.parts.tolist() == [0, 0, 1, 1, 2]
    assert shards.first_items.tolist() == [0, 4, 8, 12, 16]
    assert [shards.place(number) for number in (0, 4, 5, -1)] == [0, 4, None, None]


def test_an_extension_goes_on_where_the_run_ended(tmp_path: Path):
    a_run(tmp_path)
    new = [an_image(number, 4 + number // 4) for number in range(20, 30)]
    growth = Growth(num_new=9, num_changed=1, num_vanished=2)
    gone = [(3, 0, True), (4, 1, False)]
    manifest = extend(tmp_path, tables(new, shards_per_part=2), superseded=gone, growth=growth)
    assert manifest.growths == [growth]
    assert [item for _, found in manifest.iterate() for item in found] == [*ITEMS, *new]
    current = [item for item in [*ITEMS, *new] if item.item_id != 3]  # 4 is gone, and has no heir
    assert manifest.read_table().equals(items_to_table(current))
    assert manifest.superseded.to_pylist() == [
        {"item_id": 3, "shard": 0, "is_replaced": True},
        {"item_id": 4, "shard": 1, "is_replaced": False},
    ]


def test_a_shard_may_be_without_current_items(tmp_path: Path):
    begin(tmp_path, [items_to_table(images(4))])
    gone = [(number, 0, True) for number in range(4)]
    manifest = extend(tmp_path, [items_to_table([an_image(4, 1)])], superseded=gone)
    assert list(manifest.iterate(is_current=True)) == [(0, []), (1, [an_image(4, 1)])]


def test_an_extension_may_add_no_items(tmp_path: Path):
    a_run(tmp_path)
    nothing = Growth(num_new=0, num_changed=0, num_vanished=1)
    manifest = extend(tmp_path, [], superseded=[(0, 0, False)], growth=nothing)
    assert [item for _, found in manifest.iterate() for item in found] == ITEMS
    assert manifest.growths == [nothing]
    assert extend(tmp_path, [items_to_table([an_image(20, 5)])]).shards.total_items == 21


def test_without_an_index_there_is_no_run(tmp_path: Path):
    a_run(tmp_path)
    (tmp_path / "manifest" / "index-000000.parquet").unlink()
    assert "no run directory: there is no manifest/index-000000.parquet" in refusal(tmp_path)


def test_a_part_that_is_missing_is_named_where_its_items_are_asked_for(tmp_path: Path):
    manifest = a_run(tmp_path)
    path = part_of(tmp_path, 1)
    path.unlink()
    assert str(path) in refusal(tmp_path)
    assert [number for number, _ in manifest.iterate(manifest.places([0, 1, 4]))] == [0, 1, 4]


def test_two_parts_that_are_exchanged_are_named(tmp_path: Path):
    a_run(tmp_path)
    one, other = part_of(tmp_path, 0), part_of(tmp_path, 1)
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    expected = f"{str(one)!r} is damaged: its bytes are not those that the index names"
    assert refusal(tmp_path).startswith(expected)


def test_a_part_of_another_run_is_named_although_the_items_are_the_same(tmp_path: Path):
    for name in ("one", "other"):
        begin(tmp_path / name, [items_to_table(ITEMS)], run_id=name)
    path = part_of(tmp_path / "one", 0)
    path.write_bytes(part_of(tmp_path / "other", 0).read_bytes())
    expected = f"{str(path)!r} is damaged: its bytes are not those that the index names"
    assert refusal(tmp_path / "one").startswith(expected)
    name_parts_as_they_are(tmp_path / "one")
    expected = f"{str(path)!r} is damaged: foreign: it is of run other, this is run one"
    assert refusal(tmp_path / "one") == expected


def test_every_flipped_bit_of_a_part_is_named(tmp_path: Path):
    a_run(tmp_path)
    path = part_of(tmp_path, 1)
    sound = path.read_bytes()
    for place in range(0, len(sound), 211):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert f"{str(path)!r} is damaged" in refusal(tmp_path)
    path.write_bytes(sound)
    assert list(Manifest.read(str(tmp_path)).iterate())


SOUND = {name.encode(): text.encode() for name, text in METADATA.items()}
SOUND[b"schema_version"] = b"3"


def test_a_part_of_other_tables_is_named(tmp_path: Path):
    table = items_to_table(ITEMS)
    forge_manifest(tmp_path, table, SOUND, part_metadata={**SOUND, b"schema_version": b"4"})
    assert "is damaged: it has other columns, or tables of version 4" in refusal(tmp_path)
    forge_manifest(tmp_path, table.drop_columns(["problem"]), SOUND)
    assert "is damaged: it has other columns, or tables of version 3" in refusal(tmp_path)


@pytest.mark.parametrize("num_items", [19, 21])
def test_a_part_of_fewer_or_more_items_than_named_is_refused(tmp_path: Path, num_items: int):
    a_run(tmp_path)
    planned = shards_of(items_to_table(ITEMS), part=0, first=0)
    forge_manifest(tmp_path, items_to_table(images(num_items)), SOUND, shards=planned)
    parts = {"first_item_id": 0, "num_items": 20, "name": "", "sha256": "", "size_bytes": 1}
    path = tmp_path / "manifest" / "part-000000-0badf00d.parquet"
    forge_index(tmp_path, parts=[{**parts, "name": path.name}], shards=planned.to_arrow())
    name_parts_as_they_are(tmp_path)
    expected = f"it has {num_items} items, the index says 20"
    assert expected in refusal(tmp_path)


def test_a_part_whose_size_is_not_the_one_that_the_index_says_is_refused(tmp_path: Path):
    """The size limits the memory that the items may take."""
    path = forge_manifest(tmp_path, items_to_table(ITEMS), SOUND)
    (named,) = Manifest.read(str(tmp_path)).parts
    forge_index(tmp_path, parts=[{**vars(named), "size_bytes": 2**50}])
    expected = f"it has {path.stat().st_size} bytes, the index says {2**50}"
    assert expected in refusal(tmp_path, Manifest.read_table)


def test_items_in_other_shards_than_the_index_says_are_refused(tmp_path: Path):
    planned = shards_of(items_to_table(ITEMS), part=0, first=0)
    moved = [replace(item, shard=0) if item.item_id == 4 else item for item in ITEMS]
    forge_manifest(tmp_path, items_to_table(moved), SOUND, shards=planned)
    assert "its shard 1 is not the one that the index describes" in refusal(tmp_path)


def test_items_of_other_frames_than_the_index_says_are_refused(tmp_path: Path):
    one, other = (
        items_to_table([a_segment(0, 0, image_id=1, first_frame=0, num_frames=number)])
        for number in (5, 6)
    )
    forge_manifest(tmp_path, other, SOUND, shards=shards_of(one, part=0, first=0))
    assert "its shard 0 is not the one that the index describes" in refusal(tmp_path)


def test_a_part_whose_pages_have_fewer_items_than_its_footer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    a_run(tmp_path)
    sound = part.OpenPart.batches

    def short(self: part.OpenPart, first: int, num_items: int, *, shard: int) -> object:
        return sound(self, first, num_items - 1, shard=shard)

    monkeypatch.setattr(part.OpenPart, "batches", short)
    assert "is damaged: " in refusal(tmp_path)


def superseded_of(folder: Path) -> Path:
    (path,) = (folder / "manifest").glob("superseded-*.parquet")
    return path


@pytest.mark.parametrize("read", [Manifest.read_table, lambda m: m.superseded])
def test_superseded_items_that_the_index_does_not_name_are_refused(
    tmp_path: Path, read: Callable[[Manifest], object]
):
    for name, gone in (("one", 3), ("other", 4)):
        a_run(tmp_path / name)
        new = [items_to_table([an_image(20, 5)])]
        extend(tmp_path / name, new, superseded=[(gone, gone // 4, True)])
    path = superseded_of(tmp_path / "one")
    path.write_bytes(superseded_of(tmp_path / "other").read_bytes())
    expected = f"{str(path)!r} is damaged: its bytes are not those that the index names"
    assert refusal(tmp_path / "one", read).startswith(expected)
    path.unlink()
    assert str(path) in refusal(tmp_path / "one", read)


def test_millions_of_neighbouring_items_may_be_superseded(tmp_path: Path):
    # Neighbours take hardly a byte for fifty of them: the size of the file says nothing.
    manifest, num_items = a_run(tmp_path), 2_000_000
    ids = pa.array(range(num_items), pa.int64())
    shards = pa.array([0] * num_items, pa.int32())
    table = pa.Table.from_arrays(
        [ids, shards, pa.repeat(pa.scalar(value=True), num_items)], schema=SUPERSEDED
    )
    extension = Extension(growth=Growth(num_new=0, num_changed=1, num_vanished=0), superseded=table)
    assert write_manifest(
        manifest.run_uri, [], METADATA, plan_id="0" * 8, before=manifest, extension=extension
    )
    large = ShardTable.of_items(np.zeros(num_items), np.ones(num_items), part=0, first=0)
    planned = replace(Manifest.read(str(tmp_path)), shards=large)
    assert len(planned.replaced) == num_items
    assert "footer announces 2000000 rows, there can be 20" in refusal(
        tmp_path, lambda m: m.replaced
    )


def test_a_manifest_of_an_earlier_version_beside_an_index_changes_nothing(tmp_path: Path):
    run = begin_run(tmp_path, images(3))
    finish_run(run)
    digest = prove(run).digest
    (tmp_path / "manifest.parquet").write_bytes(b"left by another version")
    again = RunDirectory(str(tmp_path))
    assert again.shard_uri(0) == run.shard_uri(0)
    assert prove(again).digest == digest


def test_the_items_of_a_shard_are_read_from_its_row_groups_only(tmp_path: Path):
    items = images(60_000, shard_size=1000)
    manifest = begin(tmp_path, [items_to_table(items)])
    read: list[int] = []
    opened = manifest._open(0)
    whole = opened._file.iter_batches

    def counted(groups: range) -> object:
        for batch in whole(groups):
            read.append(batch.num_rows)
            yield batch

    object.__setattr__(opened._file, "iter_batches", counted)
    ((_, found),) = manifest.iterate(manifest.places([20]))
    assert found == items[20_000:21_000]
    assert sum(read) <= 2 * 16_384
