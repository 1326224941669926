"""Who creates the index begins the run; what others wrote for it goes, and nothing else does."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from fcos_core.errors import ConfigError
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.manifest.writing import write_manifest
from jobs.rundir.rows import items_to_table
from tests.jobs.rundir.manifest.manifests import (
    METADATA,
    OTHER_PLAN_ID,
    PLAN_ID,
    begin,
    extend,
    names,
    tables,
)
from tests.jobs.rundir.strategies import an_image, images

ITEMS = images(20)  # five shards
RUN = [
    "index-000000.parquet",
    "part-000000-00000000.parquet",
    "part-000001-00000000.parquet",
    "part-000002-00000000.parquet",
]


def leave(folder: Path, *others: str) -> None:
    for name in others:
        (folder / "manifest").mkdir(exist_ok=True)
        (folder / "manifest" / name).write_bytes(b"half")


def test_a_run_has_its_parts_and_an_index(tmp_path: Path):
    begin(tmp_path, tables(ITEMS, shards_per_part=2))
    assert names(tmp_path) == RUN
    assert Manifest.read(str(tmp_path)).names() == set(RUN)


@pytest.mark.parametrize("shards_per_part", [1, 2, 5])
def test_the_plan_of_a_driver_that_was_slower_is_removed(tmp_path: Path, shards_per_part: int):
    """Whether it has fewer parts or more."""
    begin(tmp_path, tables(ITEMS, shards_per_part=2))
    parts = tables(images(20), shards_per_part=shards_per_part)
    other = {**METADATA, "run_id": "slower"}
    assert not write_manifest(str(tmp_path), parts, other, plan_id=OTHER_PLAN_ID)
    assert names(tmp_path) == RUN
    assert Manifest.read(str(tmp_path)).run_id == METADATA["run_id"]


def test_what_a_killed_driver_left_is_removed_by_the_next(tmp_path: Path):
    leave(tmp_path, "part-000000-dead0000.parquet", "part-000001-dead0000.parquet")
    begin(tmp_path, tables(ITEMS, shards_per_part=2))
    assert names(tmp_path) == RUN


def test_parts_that_a_living_driver_writes_for_an_extension_stay(tmp_path: Path):
    later = ("part-000003-a11fe000.parquet", "superseded-000001-a11fe000.parquet")
    leave(tmp_path, *later, "superseded-000000-dead0000.parquet")
    begin(tmp_path, tables(ITEMS, shards_per_part=2))
    assert names(tmp_path) == sorted([*RUN, *later])


def test_what_is_no_file_of_a_plan_stays(tmp_path: Path):
    others = ("notes.txt", "part-0.parquet", ".tmp-0123", "part-000000-dead0000.parquet.bak")
    leave(tmp_path, *others)
    begin(tmp_path, tables(ITEMS, shards_per_part=2))
    assert names(tmp_path) == sorted([*RUN, *others])


def test_an_extension_that_lost_leaves_nothing(tmp_path: Path):
    """Both read the same run, and the other creates the index first."""
    before = begin(tmp_path, tables(ITEMS, shards_per_part=2))
    new = [items_to_table([an_image(20, 5)])]
    won = extend(tmp_path, new, superseded=[(3, 0, True)], plan_id="11111111")
    kept = names(tmp_path)
    assert set(kept) == won.names()
    lost = [items_to_table([an_image(20, 5)]), items_to_table([an_image(21, 6)])]
    assert not write_manifest(str(tmp_path), lost, METADATA, plan_id=PLAN_ID, before=before)
    assert names(tmp_path) == kept


def test_a_driver_that_others_overtook_twice_has_lost_and_nothing_more(tmp_path: Path):
    before = begin(tmp_path, tables(ITEMS, shards_per_part=2))
    extend(tmp_path, [items_to_table([an_image(20, 5)])], plan_id="11111111")
    extend(tmp_path, [items_to_table([an_image(21, 6)])], plan_id="22222222")
    kept = names(tmp_path)
    lost = [items_to_table([an_image(20, 5)])]
    assert not write_manifest(str(tmp_path), lost, METADATA, plan_id=PLAN_ID, before=before)
    assert not write_manifest(str(tmp_path), lost, METADATA, plan_id=PLAN_ID)
    assert names(tmp_path) == kept


def test_no_index_takes_the_place_of_a_lost_one(tmp_path: Path):
    before = begin(tmp_path, tables(ITEMS, shards_per_part=2))
    extend(tmp_path, [items_to_table([an_image(20, 5)])], plan_id="11111111")
    extend(tmp_path, [items_to_table([an_image(21, 6)])], plan_id="22222222")
    (tmp_path / "manifest" / "index-000001.parquet").unlink()
    with pytest.raises(ConfigError, match=r"index-000002.*index-000001.* is gone: restore it"):
        write_manifest(
            str(tmp_path),
            [items_to_table([an_image(20, 5)])],
            METADATA,
            plan_id=PLAN_ID,
            before=before,
        )


def test_a_plan_that_is_interrupted_takes_its_parts_with_it(tmp_path: Path):
    parts = tables(ITEMS, shards_per_part=2)

    def dying() -> Iterator[pa.Table]:
        yield parts[0]
        assert names(tmp_path) == RUN[1:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_manifest(str(tmp_path), dying(), METADATA, plan_id=PLAN_ID)
    assert names(tmp_path) == []


def test_nobody_reads_parts_before_their_index_exists(tmp_path: Path):
    parts = tables(ITEMS, shards_per_part=2)
    begin(tmp_path, parts, plan_id=PLAN_ID)
    (tmp_path / "manifest" / RUN[0]).unlink()  # as if the driver had been killed before it
    assert begin(tmp_path, parts, plan_id=OTHER_PLAN_ID).read_table().num_rows == 20
    assert RUN[1] not in names(tmp_path)


def test_metadata_without_an_id_or_a_fingerprint_is_our_own_mistake(tmp_path: Path):
    with pytest.raises(AssertionError):
        write_manifest(str(tmp_path), [items_to_table(ITEMS)], {"run_id": "x"}, plan_id=PLAN_ID)
