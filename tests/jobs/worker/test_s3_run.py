"""Runs on S3: the same rows as on local disk, whatever the server or the network does."""

import io
import json
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ConfigError, ImageError
from jobs.inputs.item_bytes import read_item_bytes
from jobs.inputs.sources import enumerate_inputs
from jobs.planning.manifest import make_manifest
from jobs.rundir.proof import Proof, prove
from jobs.rundir.rows import ManifestItem, Row
from jobs.rundir.shard import Receipt
from jobs.storage import storage_for
from jobs.storage.s3.client import disconnect
from jobs.storage.s3.storage import S3Storage
from jobs.worker.worker import Worker
from tests.chaos.proxy import FaultProxy, Faults
from tests.jobs.worker.runs import begin_run, record_run, rows_of, worker_settings
from tests.s3_servers import S3Server

SHARD_SIZE = 5

storage = S3Storage()


def upload(folder: Path, prefix: str) -> str:
    """Copy a folder's files."""
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda path: storage.write(
                    f"{prefix}/{path.relative_to(folder)}", path.read_bytes()
                ),
                [path for path in folder.rglob("*") if path.is_file()],
            )
        )
    return prefix


def computed(out: Path | str, images: Path | str, weights: Path) -> tuple[Proof, list[Row]]:
    """Compute a whole run in this process, and read it back."""
    run, shards = begin_run(out, images, shard_size=SHARD_SIZE)
    record_run(run)
    worker = Worker(worker_settings(run, weights))
    try:
        outcomes = [outcome for shard in shards for outcome in worker.process(shard)]
    finally:
        worker.close()
    assert [type(outcome) for outcome in outcomes] == [Receipt] * len(shards)
    return prove(run), [row for shard in shards for row in rows_of(run, shard.number)]


def assert_same_but_for_the_uri(rows: Sequence[Row], others: Sequence[Row]) -> None:
    for row, other in zip(rows, others, strict=True):
        assert row.uri.rpartition("/")[2] == other.uri.rpartition("/")[2]
        for field in fields(Row):
            if field.name not in {"uri", "error"}:
                one, two = getattr(row, field.name), getattr(other, field.name)
                assert np.array_equal(one, two), field.name


@pytest.mark.usefixtures("_kept_threads")
def test_rows_on_s3_are_those_on_disk(s3: str, tmp_path: Path, images: Path, tiny_weights: Path):
    local, local_rows = computed(tmp_path / "local", images, tiny_weights)
    on_s3 = upload(images, f"{s3}/images")
    out_local, _ = computed(tmp_path / "half", on_s3, tiny_weights)
    both, rows = computed(f"{s3}/run", on_s3, tiny_weights)
    out_s3, _ = computed(f"{s3}/half", images, tiny_weights)
    assert not both.problems
    assert (both.ok, both.quarantined) == (18, 2)
    assert both.digest == out_local.digest
    assert out_s3.digest == local.digest
    assert_same_but_for_the_uri(rows, local_rows)


@pytest.mark.usefixtures("_kept_threads")
def test_one_request_in_five_failing_changes_no_row(
    s3: str,
    s3_server: S3Server,
    tmp_path: Path,
    images: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    on_s3 = upload(images, f"{s3}/images")
    calm, _ = computed(tmp_path / "calm", on_s3, tiny_weights)
    with FaultProxy(s3_server.endpoint, Faults(seed=1, rate=0.2, stall_s=2.5)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        monkeypatch.setenv("AWS_RETRY_MODE", "standard")  # adaptive would wait for the server
        monkeypatch.setenv("FCOS_S3_READ_TIMEOUT_S", "2")
        disconnect()
        stormy, _ = computed(f"{s3}/run", on_s3, tiny_weights)
        disconnect()
    assert sum(proxy.met[kind] for kind in proxy.met if kind != "ok") > 1
    assert not stormy.problems
    assert stormy.digest == calm.digest


def manifest_of(*inputs: str, image_root: str | None = None) -> list[ManifestItem]:
    return make_manifest(enumerate_inputs(inputs, image_root=image_root), 4)


def test_an_object_that_changed_or_was_deleted_after_the_plan_is_quarantined(s3: str):
    for i in range(3):
        storage.write(f"{s3}/{i}.jpg", b"before %d" % i)
    items = manifest_of(s3)
    assert all(item.etag and item.size_bytes == 8 for item in items)
    storage.write(f"{s3}/1.jpg", b"after")
    storage.delete(f"{s3}/2.jpg")
    now = storage.stat(f"{s3}/1.jpg")
    assert now is not None
    assert read_item_bytes(items[0]) == b"before 0"
    with pytest.raises(ImageError) as changed:
        read_item_bytes(items[1])
    assert str(changed.value) == (
        f"'{s3}/1.jpg' has changed: it was 8 bytes, etag {items[1].etag}, "
        f"now it is 5 bytes, etag {now.etag}"
    )
    with pytest.raises(ImageError, match=r"2.jpg' cannot be read: there is no such object"):
        read_item_bytes(items[2])


def test_an_image_takes_one_request(s3: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch):
    for i in range(5):
        storage.write(f"{s3}/{i}.jpg", b"%d" % i)
    items = manifest_of(s3)
    with FaultProxy(s3_server.endpoint, Faults(rate=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        disconnect()
        assert [read_item_bytes(item) for item in items] == [b"%d" % i for i in range(5)]
        disconnect()
    assert proxy.met == {"ok": 5}


def write_archives(folder: Path) -> None:
    members = {f"{i}.jpg": b"image %d" % i for i in range(4)}
    with tarfile.open(folder / "a b#.tar", "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    pq.write_table(pa.table({"bytes": list(members.values())}), folder / "b.parquet")
    pq.write_table(pa.table({"uri": ["./images/0.jpg", "images/1.jpg"]}), folder / "c.parquet")
    (folder / "images").mkdir()
    for name, data in members.items():
        (folder / "images" / name).write_bytes(data)
    (folder / "list.txt").write_text("images/2.jpg\n./images/../images/3.jpg\na b#.tar#1.jpg\n")
    images = [{"id": 7 + i, "file_name": f"{i}.jpg", "width": 10, "height": 20} for i in range(4)]
    (folder / "coco.json").write_text(json.dumps({"images": images}))


def test_every_kind_of_input_gives_on_s3_what_it_gives_on_disk(s3: str, tmp_path: Path):
    write_archives(tmp_path)
    upload(tmp_path, s3)

    def described(root: str, name: str) -> list[tuple[str, bytes, int, int]]:
        return [
            (item.uri.removeprefix(root), read_item_bytes(item), item.image_id, item.item_id)
            for item in manifest_of(f"{root}/{name}")
        ]

    for name, count in [
        ("a b#.tar", 4),
        ("b.parquet", 4),
        ("c.parquet", 2),
        ("list.txt", 3),
        ("coco.json", 4),
        ("images", 4),
        ("images/", 4),
        ("images/[12].jpg", 2),
        ("*.tar", 4),
        ("images/0.jpg", 1),
        ("**/*.jpg", 4),
    ]:
        expected = described(str(tmp_path), name)
        assert len(expected) == count
        found = described(s3, name)
        if not name.startswith("images/") and name != "list.txt":
            assert found == expected
        else:
            assert [entry[1:] for entry in found] == [entry[1:] for entry in expected]


def test_members_of_an_archive_that_changed_are_quarantined(s3: str, tmp_path: Path):
    write_archives(tmp_path)
    uri = f"{s3}/a.tar"
    storage.write(uri, (tmp_path / "a b#.tar").read_bytes())
    items = manifest_of(uri)
    storage.write(uri, (tmp_path / "a b#.tar").read_bytes() + bytes(10_240))
    with pytest.raises(ImageError, match="the archive has changed: it was etag "):
        read_item_bytes(items[0])


def test_nested_names_are_ordered_alike_on_every_server(s3: str, tmp_path: Path):
    names = ["a/1.jpg", "a-b/2.jpg", "a.jpg", "a/b/3.jpg", "a/b.jpg", "a0.jpg", "Z.jpg", "é.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    upload(tmp_path, s3)
    local = [item.uri.removeprefix(str(tmp_path)) for item in manifest_of(str(tmp_path))]
    assert [item.uri.removeprefix(s3) for item in manifest_of(s3)] == local
    assert [item.uri.removeprefix(s3) for item in manifest_of(f"{s3}/**")] == local


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}/none.jpg", "none.jpg' does not exist"),
        ("{}/*.webp", "no file matches 's3://"),
        ("{}/texts", "texts' holds no image or video, 1 files of other kinds"),
        ("s3://no-such-bucket/x", "there is no such bucket"),
        ("s3://", "names no bucket"),
    ],
)
def test_input_on_s3_that_cannot_be_used_is_named_in_one_line(s3: str, text: str, message: str):
    storage_for(s3).write(f"{s3}/texts/a.txt", b"")
    with pytest.raises(ConfigError) as caught:
        enumerate_inputs([text.format(s3)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
