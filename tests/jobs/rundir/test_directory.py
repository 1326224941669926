"""A run's directory: what lies where, and who wins."""

import json
from pathlib import Path
from typing import Any

import pytest

from fcos_core.errors import ConfigError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.fingerprint import fingerprint
from jobs.rundir.rows import items_to_table
from jobs.rundir.schemas import shard_name, shard_number
from jobs.rundir.shard_writing import encode_shard
from tests.forging import sealed
from tests.jobs.rundir.strategies import (
    RUN_ID,
    a_record,
    a_segment,
    begin_run,
    commit_rows,
    images,
    ok_row,
)

METADATA = {"run_id": "first", "fingerprint": "f"}


def test_the_manifest_is_written_once_and_read_back(tmp_path: Path):
    run = RunDirectory(str(tmp_path / "run"))
    items = [*images(10), a_segment(10, 2, image_id=11, first_frame=5, num_frames=3)]
    assert not run.exists()
    assert run.create_manifest(items_to_table(items), METADATA)
    assert run.exists()
    assert not run.create_manifest(
        items_to_table(images(3)), {"run_id": "late", "fingerprint": "g"}
    )
    assert run.read_manifest() == items
    assert run.manifest().read_table().equals(items_to_table(items))
    metadata = run.manifest().metadata
    assert {name: metadata[name] for name in METADATA} == METADATA
    assert metadata["schema_version"] == "3"
    assert run.manifest().run_id == "first"


def test_the_manifest_is_handed_out_shard_by_shard_across_row_groups(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    items = images(70_000, shard_size=1000)
    assert run.create_manifest(items_to_table(items), METADATA)
    shards = list(run.manifest().iterate())
    assert [number for number, _ in shards] == list(range(70))
    assert [item for _, group in shards for item in group] == items


def test_a_manifest_that_is_not_in_order_is_our_own_mistake(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    with pytest.raises(AssertionError):
        run.create_manifest(items_to_table(images(3)[::-1]), METADATA)
    assert not run.exists()


def test_the_record_is_written_once_and_read_back(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    assert run.create_run_record(a_record())
    assert not run.create_run_record(a_record("other"))
    assert run.read_run_record() == a_record()


def test_nothing_is_written_by_asking(tmp_path: Path):
    run = RunDirectory(str(tmp_path / "run"))
    assert not len(run.list_shards().shards)
    with pytest.raises(ConfigError, match=r"no manifest/index-000000\.parquet"):
        run.read_manifest()
    with pytest.raises(ConfigError, match=r"no run\.json"):
        run.read_run_record()
    assert list(tmp_path.iterdir()) == []


def test_a_place_inside_a_file_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    run = RunDirectory(str(tmp_path / "file" / "run"))
    with pytest.raises(ConfigError) as caught:
        run.create_manifest(items_to_table(images(1)), METADATA)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


def test_a_damaged_manifest_is_refused(tmp_path: Path):
    run = begin_run(tmp_path, images(3))
    path = Path(run.manifest_uri)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"index-000000\.parquet' is damaged"):
        run.read_manifest()


def test_a_shard_is_no_manifest(tmp_path: Path):
    run = begin_run(tmp_path, images(3))
    data = encode_shard([ok_row(images(1)[0])], run_id="r", shard=0)
    Path(run.manifest_uri).write_bytes(data)
    with pytest.raises(ConfigError, match="tables of version"):
        run.read_manifest()


@pytest.mark.parametrize(
    "text", ["", "{", '{"run_id": "r"}', "[]", a_record().model_dump_json()[:-1] + ',"new":1}']
)
def test_a_damaged_record_is_refused_in_one_line(tmp_path: Path, text: str):
    run = RunDirectory(str(tmp_path))
    Path(run.run_uri).write_text(text)
    with pytest.raises(ConfigError, match=r"run\.json' is damaged") as caught:
        run.read_run_record()
    assert "\n" not in str(caught.value)
    assert ('"new"' in text) == ("is damaged: unknown key 'new'; delete it" in str(caught.value))


def test_a_flipped_bit_of_a_record_is_noticed_wherever_it_is(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    run.create_run_record(a_record())
    path = Path(run.run_uri)
    good = path.read_bytes()
    assert run.read_run_record() == a_record()
    num_same = 0
    for place in range(0, len(good), 7):
        damaged = bytearray(good)
        damaged[place] ^= 1 << (place % 7)
        path.write_bytes(damaged)
        try:
            assert run.read_run_record() == a_record()
            num_same += 1  # a space that is another kind of space
        except ConfigError as error:
            reason = str(error)
            assert "run.json' is damaged" in reason
    assert num_same < len(good) / 7 / 20


def test_a_record_laid_out_anew_is_the_same_record(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    run.create_run_record(a_record())
    document = json.loads(Path(run.run_uri).read_text())
    Path(run.run_uri).write_text(json.dumps(dict(reversed(document.items()))))
    assert run.read_run_record() == a_record()


def a_begun_run(folder: Path, record: dict[str, Any], **fields: str) -> RunDirectory:
    """Write a manifest with fields, and a ``run.json`` that repeats them, changed by ``record``."""
    run = RunDirectory(str(folder))
    fields = {"weights_sha256": "a" * 64, "preset": "torchvision", "batch_size": "8", **fields}
    metadata = {"fingerprint": fingerprint(fields), "fingerprint_fields": json.dumps(fields)}
    run.create_manifest(items_to_table(images(1)), {"run_id": RUN_ID, **metadata})
    repeated = {"fingerprint": fingerprint(fields), "fingerprint_fields": fields, "settings": {}}
    document = {**a_record().model_dump(mode="json"), **repeated, **record}
    Path(run.run_uri).write_text(json.dumps(sealed(document)))
    return run


def take_the_seal(run: RunDirectory) -> None:
    document = json.loads(Path(run.run_uri).read_text())
    del document["sha256"]
    Path(run.run_uri).write_text(json.dumps(document))


@pytest.mark.parametrize("fields", [{}, {"project_version": "0.2.0"}, {"project_version": "9"}])
def test_a_record_without_its_seal_is_refused(tmp_path: Path, fields: dict[str, str]):
    run = a_begun_run(tmp_path, {}, **fields)
    assert run.read_run_record()
    take_the_seal(run)
    with pytest.raises(ConfigError, match=r"run\.json' is damaged: it has no seal: .* delete it"):
        run.read_run_record()


def test_a_record_of_a_version_without_seals_is_named_and_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run = a_begun_run(tmp_path, {}, project_version="0.1.0")
    take_the_seal(run)
    assert run.read_run_record().run_id == RUN_ID
    assert run.read_run_record()
    assert caplog.text.count("run.json has no seal: an older version began the run") == 1


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"run_id": "another"}, "foreign: it is of run another, the manifest of run 0123"),
        ({"weights_sha256": "b" * 64}, "its weights_sha256 'bbb.* differs from the manifest's"),
        ({"preset": "paper"}, "its preset 'paper' differs from the manifest's, 'torchvision'"),
        ({"fingerprint": "b" * 64}, "its fingerprint 'bbb.* differs from the manifest's"),
        ({"fingerprint_fields": {}}, "its fingerprint_fields {} differs from the manifest's"),
        ({"settings": {"batch_size": 9}}, "its settings.batch_size 9 differs from the manifest's"),
    ],
)
def test_a_sealed_record_that_is_not_the_manifests_is_refused(
    tmp_path: Path, record: dict[str, Any], expected: str
):
    with pytest.raises(ConfigError, match=expected) as caught:
        a_begun_run(tmp_path, record).read_run_record()
    assert "\n" not in str(caught.value)
    assert "run.json'" in str(caught.value)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ({"unknown": 1}, "unknown"),
        ({"schema_version": "two"}, "schema_version"),
        ({"categories": [{"id": "1", "name": "x"}]}, "categories.0.id"),
        ({"categories": [{"id": 2**31, "name": "x"}]}, "categories.0.id"),
        ({"categories": [{"id": 1, "name": "\ud800"}]}, "categories.0.name"),
        ({"categories": [{"id": 1, "name": "x"}] * 2}, "categories"),
        ({"settings": {"min_size_px": "800"}}, "settings"),
        ({"settings": {"max_size_px": 10**400}}, "settings"),
        ({"settings": {"max_size_px": 0}}, "settings"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"config": {"fps": float("nan")}}, "NaN is no JSON"),
    ],
)
def test_a_sealed_record_with_an_impossible_value_is_refused(
    tmp_path: Path, record: dict[str, Any], place: str
):
    with pytest.raises(ConfigError, match=rf"run\.json' is damaged: {place}") as caught:
        a_begun_run(tmp_path, record).read_run_record()
    assert "\n" not in str(caught.value)


def test_a_record_of_other_tables_is_refused(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    run.create_run_record(a_record().model_copy(update={"schema_version": 99}))
    with pytest.raises(ConfigError, match="version 99, this is 3"):
        run.read_run_record()


def test_shards_are_told_from_what_else_lies_there(tmp_path: Path):
    run = begin_run(tmp_path, images(9))
    for shard in (2, 0):
        commit_rows(run, shard, [ok_row(images(1)[0])])
    for attempt in (10, 9):
        commit_rows(run, 2, [ok_row(images(1)[0])], attempt=attempt)
    foreign = [
        "detections/000000/shard-0.parquet",
        "detections/000000/shard-0000001.parquet",
        "detections/000000/shard-00000٣.parquet",
        "detections/000000/shard-000001.parquet.bak",
        "detections/000001/shard-000001.parquet",
        "detections/0/shard-000001.parquet",
        "detections/deeper/shard-000001.parquet",
        "detections/000000/000000/shard-000001.parquet",
        "detections/shard-000001.parquet",  # where earlier versions had it
        "retries/shard-000001.parquet",
        "retries/1/shard-000001.parquet",
        "retries/000000/shard-000001.parquet",
        "retries/x/000000/shard-000001.parquet",
        "retries/01/000000/shard-000001.parquet",
        "retries/٣/000000/shard-000001.parquet",
    ]
    leftovers = [
        "detections/.tmp-0123",
        "detections/000000/.DS_Store",
        "retries/9/000000/.tmp-4567",
    ]
    for name in (*foreign, *leftovers):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    listing = run.list_shards()
    assert listing.shards.tolist() == [0, 2]
    assert listing.retries == {2: [(9, run.shard_uri(2, 9)), (10, run.shard_uri(2, 10))]}
    assert sorted(listing.foreign) == sorted(f"{tmp_path}/{name}" for name in foreign)
    assert sorted(listing.leftovers) == sorted(f"{tmp_path}/{name}" for name in leftovers)


@pytest.mark.parametrize("number", [0, 1, 999_999, 1_000_000, 123_456_789])
def test_shard_names_are_read_back(number: int):
    assert shard_number(shard_name(number)) == number


@pytest.mark.parametrize(
    ("number", "folder"),
    [(0, "000000"), (9_999, "000000"), (10_000, "000001"), (123_456_789, "012345")],
)
def test_a_folder_has_ten_thousand_shards(tmp_path: Path, number: int, folder: str):
    run = RunDirectory(str(tmp_path))
    assert run.shard_uri(number) == f"{tmp_path}/detections/{folder}/{shard_name(number)}"
    assert run.shard_uri(number, 7) == f"{tmp_path}/retries/7/{folder}/{shard_name(number)}"
    commit_rows(run, number, [ok_row(images(1)[0])])
    assert run.list_shards().shards.tolist() == [number]
