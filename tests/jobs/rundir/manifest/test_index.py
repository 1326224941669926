"""An index that does not continue its run, or describes what cannot be, is refused as a whole."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ConfigError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.index import is_part_name
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.proof import prove
from jobs.rundir.rows import items_to_table
from jobs.rundir.schemas import MANIFEST_INDEX
from jobs.rundir.untrusted.limits import MAX_SHARD_ROWS
from tests.forging import INDEX, encode_forged, forge_index, metadata_of_file
from tests.jobs.rundir.manifest.manifests import begin, extend, tables
from tests.jobs.rundir.strategies import an_image, images

ITEMS = images(20)  # five shards
SECOND = "index-000001.parquet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of five shards in three parts, extended by two shards in two parts."""
    begin(tmp_path, tables(ITEMS, shards_per_part=2))
    new = [an_image(number, 5 + number % 2) for number in range(20, 22)]
    extend(tmp_path, tables(new, shards_per_part=1), superseded=[(3, 0, True)])
    assert Manifest.read(str(tmp_path)).shards.total_items == 22
    return tmp_path


def refusal(folder: Path, index: str = INDEX) -> str:
    """Why an index is refused, by all readers alike."""
    run = RunDirectory(str(folder))
    with pytest.raises(ConfigError) as caught:
        prove(run)
    with pytest.raises(ConfigError) as again:
        run.read_manifest()
    assert str(again.value) == str(caught.value)
    assert "\n" not in str(caught.value)
    start = f"{str(folder / 'manifest' / index)!r} is damaged: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def with_cells(folder: Path, index: str, cells: Mapping[tuple[int, str], int]) -> pa.Table:
    """The shards of an index, some values changed."""
    rows = pq.read_table(folder / "manifest" / index).to_pylist()
    for (row, name), value in cells.items():
        rows[row][name] = value
    return pa.Table.from_pylist(rows, schema=MANIFEST_INDEX)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        pytest.param({(1, "shard"): 0}, "shard 0 cannot be where it says", id="a number twice"),
        pytest.param({(1, "shard"): 3}, "shard 2 cannot", id="numbers that fall"),
        pytest.param({(0, "shard"): -1}, "shard -1 cannot", id="a number below zero"),
        pytest.param({(1, "first_item_id"): 3}, "shard 1 cannot", id="shards that overlap"),
        pytest.param({(1, "first_item_id"): 5}, "shard 1 cannot", id="an item in no shard"),
        pytest.param({(0, "first_item_id"): 1}, "shard 0 cannot", id="the first item in no shard"),
        pytest.param({(1, "num_items"): 5}, "shard 1 cannot", id="an item in two shards"),
        pytest.param({(2, "num_items"): 0}, "shard 2 cannot", id="a shard without items"),
        pytest.param({(2, "num_items"): -4}, "shard 2 cannot", id="fewer items than none"),
        pytest.param({(4, "num_items"): 2**31 - 1}, "shard 4 cannot", id="more than the part has"),
        pytest.param({(0, "num_rows"): 3}, "shard 0 cannot", id="fewer rows than items"),
        pytest.param(
            {(0, "num_rows"): MAX_SHARD_ROWS + 1}, "shard 0 cannot", id="more rows than a shard has"
        ),
        pytest.param({(2, "part"): 0}, "shard 2 cannot", id="a part that ends before"),
        pytest.param({(1, "part"): 1}, "shard 1 cannot", id="a part that begins behind"),
        pytest.param({(4, "part"): 3}, "a shard lies in a part", id="no such part"),
        pytest.param({(0, "part"): -(2**31)}, "a shard lies in a part", id="a part below zero"),
        pytest.param({(4, "num_items"): 3}, "its shards end before item 19", id="an end too early"),
        pytest.param(
            {(4, "first_item_id"): 2**63 - 1}, "shard 4 cannot", id="an item that no number has"
        ),
    ],
)
def test_shards_that_cannot_lie_so_are_refused(
    folder: Path, cells: dict[tuple[int, str], int], reason: str
):
    forge_index(folder, shards=with_cells(folder, INDEX, cells))
    assert refusal(folder).startswith(reason)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        pytest.param({(0, "shard"): 4}, "shard 4 cannot", id="a shard of the run"),
        pytest.param({(0, "first_item_id"): 16}, "shard 5 cannot", id="items of the run"),
        pytest.param({(0, "part"): 2}, "a shard lies in a part", id="a part of the run"),
        pytest.param({(1, "part"): 5}, "a shard lies in a part", id="a part behind the last"),
    ],
)
def test_an_extension_does_not_touch_what_the_run_has(
    folder: Path, cells: dict[tuple[int, str], int], reason: str
):
    forge_index(folder, index=SECOND, shards=with_cells(folder, SECOND, cells))
    assert refusal(folder, SECOND).startswith(reason)


def parts_of(folder: Path, index: str = INDEX) -> list[dict[str, Any]]:
    indexes = Manifest.read(str(folder)).indexes
    return [vars(part) for part in indexes[index == SECOND].parts]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"first_item_id": 7}, "part .* begins with item 7", id="overlapping"),
        pytest.param({"first_item_id": 9}, "part .* begins with item 9", id="a gap before"),
        pytest.param({"num_items": 9}, "part .* begins with item 16", id="an overlap behind"),
        pytest.param({"num_items": 0}, "a part is described as", id="no items"),
        pytest.param({"num_items": 8.0}, "a part is described as", id="no whole number"),
        pytest.param({"num_items": True}, "a part is described as", id="no number"),
        pytest.param({"size_bytes": 0}, "a part is described as", id="no bytes"),
        pytest.param({"first_item_id": -8}, "a part is described as", id="an item below zero"),
        pytest.param({"name": "../run.json"}, "a part is described as", id="another folder"),
        pytest.param({"sha256": None}, "a part is described as", id="no digest"),
        pytest.param({"more": 1}, "a part is described as", id="an unknown key"),
    ],
)
def test_parts_that_do_not_follow_or_are_none_are_refused(
    folder: Path, changes: dict[str, Any], reason: str
):
    first, second, third = parts_of(folder)
    forge_index(folder, parts=[first, {**second, **changes}, third])
    with pytest.raises(ConfigError, match=rf"{INDEX}' is damaged: {reason}"):
        Manifest.read(str(folder))
    assert refusal(folder)


def test_the_parts_of_an_extension_go_on_from_those_of_the_run(folder: Path):
    parts = [
        {**part, "first_item_id": part["first_item_id"] - 1} for part in parts_of(folder, SECOND)
    ]
    forge_index(folder, index=SECOND, parts=parts)
    assert refusal(folder, SECOND) == "its first item is 19, must be 20"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("null", "its parts are no list"),
        ("{}", "its parts are no list"),
        ("[1]", "a part is described as 1"),
        ("[", "Expecting value"),
        ("[" * 100_000, "its parts are nested too deeply"),
        ("[]", "it has 0 parts and 5 shards"),
    ],
)
def test_a_list_of_parts_that_is_none_is_refused(folder: Path, text: str, reason: str):
    forge_index(folder, parts=text)
    assert refusal(folder).startswith(reason)


def test_parts_without_shards_are_refused(folder: Path):
    forge_index(folder, shards=MANIFEST_INDEX.empty_table())
    assert refusal(folder) == "it has 3 parts and 0 shards"


def test_numbers_that_no_machine_has_are_refused(folder: Path):
    (only,) = parts_of(folder)[:1]
    forge_index(folder, parts=[{**only, "num_items": 2**70}])
    assert refusal(folder)


@pytest.mark.parametrize(
    ("growth", "is_possible"),
    [
        (None, True),
        ({"num_new": 1, "num_changed": 0, "num_vanished": 0}, True),
        ({"num_new": -1, "num_changed": 0, "num_vanished": 0}, False),
        ({"num_new": 1.0, "num_changed": 0, "num_vanished": 0}, False),
        ({"num_new": 1, "num_changed": 0}, False),
        ({"num_new": 1, "num_changed": 0, "num_vanished": 0, "more": 0}, False),
        ([1, 0, 0], False),
        (3, False),
    ],
)
def test_a_growth_that_none_can_be_is_refused(folder: Path, growth: object, *, is_possible: bool):
    forge_index(folder, index=SECOND, growth=growth)
    if is_possible:
        assert Manifest.read(str(folder))
    else:
        assert refusal(folder, SECOND).startswith("its growth is ")


@pytest.mark.parametrize(
    "superseded",
    [
        1,
        [],
        ["superseded-000001-00000000.parquet"],
        ["../run.json", "0"],
        ["run.json", "0"],
        ["", 0],
    ],
)
def test_superseded_items_in_no_such_file_are_refused(folder: Path, superseded: object):
    forge_index(folder, index=SECOND, superseded=superseded)
    assert refusal(folder, SECOND).startswith("its superseded items are in ")


@pytest.mark.parametrize("name", ["growth", "superseded"])
@pytest.mark.parametrize("text", ["[" * 100_000, "{", ""])
def test_metadata_that_is_no_json_is_refused(folder: Path, name: str, text: str):
    forge_index(folder, index=SECOND, **{name: text})
    assert refusal(folder, SECOND)


def test_a_renamed_index_is_named(folder: Path):
    manifest = folder / "manifest"
    (manifest / SECOND).write_bytes((manifest / INDEX).read_bytes())
    assert refusal(folder, SECOND) == "renamed: it is index 0"
    (manifest / SECOND).unlink()
    forge_index(folder, generation="1")
    assert refusal(folder) == "renamed: it is index 1"


def test_an_index_of_another_run_is_named(folder: Path):
    forge_index(folder, index=SECOND, run_id="another")
    assert refusal(folder, SECOND) == "foreign: it is of run another, this is run 0123456789abcdef"


def test_an_index_of_other_tables_is_refused(folder: Path):
    path = folder / "manifest" / INDEX
    table, metadata = pq.read_table(path), metadata_of_file(path)
    for other, changes in (
        (table, {b"schema_version": b"4"}),
        (table.drop_columns(["num_rows"]), {}),
        (table.set_column(0, "shard", table.column("shard").cast(pa.int64())), {}),
        (items_to_table(ITEMS), {}),
    ):
        path.write_bytes(encode_forged(other, {**metadata, **changes}))
        assert refusal(folder).startswith("it has other columns, or tables of version ")


def test_every_flipped_bit_of_an_index_is_named(folder: Path):
    path = folder / "manifest" / INDEX
    sound = path.read_bytes()
    for place in range(0, len(sound), 83):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=rf"{INDEX}' is damaged"):
            Manifest.read(str(folder))
    path.write_bytes(sound)
    assert Manifest.read(str(folder))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("part-000000-0123abcd.parquet", True),
        ("part-1000000-0123abcd.parquet", True),
        ("superseded-000001-0123abcd.parquet", True),
        ("part-0-0123abcd.parquet", False),
        ("part-000000-0123ABCD.parquet", False),
        ("part-000000-0123abcd.parquet.bak", False),
        ("../part-000000-0123abcd.parquet", False),
        (INDEX, False),
    ],
)
def test_only_files_of_plans_have_names_that_may_be_removed(name: str, *, is_one: bool):
    assert is_part_name(name) == is_one
