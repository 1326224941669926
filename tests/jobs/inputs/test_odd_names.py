"""A name that is not UTF-8, or in another form, loses no image and finds its own file."""

import io
import json
import os
import tarfile
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ConfigError
from jobs.inputs.coco import find_image
from jobs.inputs.item_bytes import has_changed, read_item_bytes, source_exists
from jobs.inputs.relocated import relocate
from jobs.inputs.sources import enumerate_inputs
from jobs.inputs.video_frames import load_frames
from jobs.inputs.video_index import VideoRequest, plan_videos
from jobs.planning.manifest import make_manifest
from jobs.rundir.rows import ManifestItem, items_to_table, table_to_items
from jobs.storage import absolute, folder_of, join, local_path, local_uri, storage_for
from jobs.storage.local_uri import utf8_name
from jobs.storage.member_uri import member_uri, split_member
from tests.jobs.media.video.making import Recipe, write_video

LATIN = os.fsdecode(b"caf\xe9 100%#1.jpg")
ESCAPED = "caf%E9%20100%25#1.jpg"


def jpeg(value: int) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((8, 8, 3), value, np.uint8))
    assert done
    return data.tobytes()


def images_of(*inputs: object, image_root: str | None = None) -> dict[str, bytes]:
    """The bytes of every item by its uri, as a manifest that was written and read again has it."""
    listing = enumerate_inputs([str(one) for one in inputs], image_root=image_root)
    items = table_to_items(items_to_table(make_manifest(listing, 64)))
    assert not any(map(has_changed, items))
    assert all(source_exists(item.uri) for item in items)
    return {item.uri: read_item_bytes(item) for item in items}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    (place / "ok.jpg").write_bytes(jpeg(1))
    (place / LATIN).write_bytes(jpeg(2))
    return place


def test_a_file_whose_name_is_not_utf8_is_an_item_like_its_neighbours(folder: Path):
    escaped = f"file://{folder}/{ESCAPED}"
    expected = {escaped: jpeg(2), f"{folder}/ok.jpg": jpeg(1)}
    assert images_of(folder) == expected
    assert list(images_of(folder)) == list(expected), "in the order of the bytes of the names"
    assert images_of(f"{folder}/*.jpg") == expected
    assert images_of(folder / LATIN) == {escaped: jpeg(2)}
    assert images_of(escaped) == {escaped: jpeg(2)}, "the spelling is an input itself"


def test_a_file_that_is_really_called_like_the_escaped_form_is_another_one(folder: Path):
    (folder / "caf%E9%20100%25#1.jpg").write_bytes(jpeg(3))
    found = images_of(folder)
    assert len(found) == 3
    assert found[f"{folder}/{ESCAPED}"] == jpeg(3)
    assert found[f"file://{folder}/{ESCAPED}"] == jpeg(2)


def test_a_folder_whose_name_is_not_utf8_is_searched_and_its_hidden_files_are_not(tmp_path: Path):
    place = tmp_path / os.fsdecode(b"d\xfcr *")
    (place / ".hidden").mkdir(parents=True)
    (place / "a.jpg").write_bytes(jpeg(4))
    (place / ".hidden" / "b.jpg").write_bytes(jpeg(4))
    (place / ".c.jpg").write_bytes(jpeg(4))
    uri = f"file://{tmp_path}/d%FCr%20*/a.jpg"
    assert images_of(place) == {uri: jpeg(4)}
    assert images_of(tmp_path) == {uri: jpeg(4)}
    assert images_of(f"{tmp_path}/d*/**") == {uri: jpeg(4)}
    assert images_of(f"{place}/?.jpg") == {uri: jpeg(4)}


def test_lists_tables_and_coco_files_name_such_a_file_by_its_bytes_or_its_uri(folder: Path):
    escaped = f"file://{folder}/{ESCAPED}"
    by_bytes, by_uri = folder / "bytes.txt", folder / "uri.txt"
    by_bytes.write_bytes(b"ok.jpg\n" + os.fsencode(LATIN) + b"\n")
    by_uri.write_text(f"ok.jpg\n{escaped}\n")
    table = folder / "table.parquet"
    pq.write_table(pa.table({"uri": ["ok.jpg", escaped]}), table)
    coco = folder / "coco.json"
    entries = [{"id": 7, "file_name": "ok.jpg"}, {"id": 8, "file_name": LATIN}]
    coco.write_text(json.dumps({"images": entries}))
    for source in (by_bytes, by_uri, table, coco):
        assert images_of(source) == {escaped: jpeg(2), f"{folder}/ok.jpg": jpeg(1)}, source


def test_a_list_in_another_encoding_is_refused_by_its_line(folder: Path):
    path = folder / "list.txt"
    path.write_bytes(b"ok.jpg\nno\xe9.jpg\n")
    with pytest.raises(ConfigError) as caught:
        enumerate_inputs([str(path)])
    shown = r"b'no\xe9.jpg'"
    assert str(caught.value) == (
        f"{path}, line 2: {shown} is not a list in UTF-8, and no file has this name"
    )


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", [b"a.tar", b"\xe9 %41.tar"])
def test_a_member_whose_name_is_not_utf8_is_an_item_of_its_archive(tmp_path: Path, name: bytes):
    archive = tar(tmp_path / os.fsdecode(name), {"ok.jpg": jpeg(1), LATIN: jpeg(2)})
    found = images_of(archive)
    assert sorted(found.values()) == sorted([jpeg(1), jpeg(2)])
    for uri, data in found.items():
        listed = tmp_path / "list.txt"
        listed.write_text(uri)
        (item,) = make_manifest(enumerate_inputs([str(listed)]), 64)
        assert item.uri == uri
        assert read_item_bytes(item) == data, "its uri finds it again"


def test_of_a_member_and_one_really_called_like_its_escaped_form_one_is_counted(tmp_path: Path):
    latin = os.fsdecode(b"\xe9.jpg")
    archive = tar(tmp_path / "a.tar", {latin: jpeg(1), "%E9.jpg": jpeg(2)})
    listing = enumerate_inputs([str(archive)])
    assert [item.uri for item in listing.items] == [f"{archive}#%E9.jpg"]
    assert listing.skipped == 1
    assert images_of(archive) == {f"{archive}#%E9.jpg": jpeg(2)}


@pytest.mark.parametrize(
    "path",
    [b"/a/b.jpg", b"/a/\xc3\xa9 %41?.jpg", b"/a/\xe9 %41?\n#[*].jpg", b"/\xe9/\xc3\xa9", b"/\xff"],
)
def test_a_uri_names_a_path_in_utf8_and_gives_it_back(path: bytes):
    raw = os.fsdecode(path)
    uri = local_uri(raw)
    uri.encode()
    assert local_path(uri) == raw
    assert absolute(uri) == absolute(raw) == uri
    assert (uri == raw) == (path.decode(errors="ignore").encode() == path)
    assert local_path(folder_of(uri)) == raw.rpartition("/")[0] or "/"
    assert local_path(join(uri, "b%20c", "d.jpg")) == f"{raw}/b%20c/d.jpg"
    ((container, kind, member),) = split_member(member_uri(f"{uri}.tar", "x %41.jpg"))
    assert (local_path(container), kind, member) == (f"{raw}.tar", "tar", "x %41.jpg")


def test_outputs_go_where_the_bytes_say(tmp_path: Path):
    out = absolute(str(tmp_path / os.fsdecode(b"out\xe9")))
    uri = join(out, "detections", "a.parquet")
    storage = storage_for(uri)
    assert storage.create(uri, b"1")
    assert not storage.create(uri, b"2")
    storage.write(join(out, "run.json"), b"{}")
    assert [info.uri for info in storage.list(out)] == [uri, join(out, "run.json")]
    assert (tmp_path / os.fsdecode(b"out\xe9") / "detections" / "a.parquet").read_bytes() == b"1"
    storage.delete(uri)
    assert storage.stat(uri) is None
    with pytest.raises(Exception, match=r"out%E9/detections/a.parquet' cannot be read"):
        storage.read(uri)


def test_names_inside_archives_are_left_alone_where_they_are_utf8():
    assert utf8_name("ü 100%.jpg") == "ü 100%.jpg"
    assert utf8_name(os.fsdecode(b"\xc3\xbc \xfc 100%.jpg")) == "ü %FC 100%25.jpg"
    assert utf8_name("\ud800.jpg").encode()


NFC, NFD = (unicodedata.normalize(form, "é/à.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("on_disk", "written"), [(NFC, NFD), (NFD, NFC), (NFC, NFC), (NFD, NFD)])
def test_a_file_is_found_by_its_name_in_the_other_unicode_form(
    tmp_path: Path, on_disk: str, written: str
):
    place = tmp_path / on_disk
    place.parent.mkdir()
    place.write_bytes(jpeg(1))
    uri, info = find_image(str(tmp_path), written)
    assert uri == str(place)
    assert info is not None
    coco = tmp_path / "coco.json"
    coco.write_text(json.dumps({"images": [{"id": 7, "file_name": written}]}))
    assert images_of(coco) == {str(place): jpeg(1)}
    assert images_of(coco, image_root=str(tmp_path)) == {str(place): jpeg(1)}


def test_the_name_as_it_is_written_comes_first_and_two_other_forms_are_ambiguous(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    both = unicodedata.normalize("NFC", "é") + unicodedata.normalize("NFD", "à") + ".jpg"
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, both)).write_bytes(jpeg(1))
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, both)
        assert find_image(str(tmp_path), name)[0] == str(tmp_path / name)
    assert find_image(str(tmp_path), both) == (str(tmp_path / both), None)
    assert "both its name in other Unicode forms" in caplog.text


@pytest.mark.parametrize(
    ("written", "way"),
    [
        ("train\\a b.jpg", "\\ in file_name is replaced by /"),
        ("train/a%20b.jpg", "%-escapes in file_name are resolved"),
        ("train\\a%20b.jpg", "\\ in file_name is replaced by / and %-escapes are resolved"),
    ],
)
def test_a_name_in_another_spelling_gets_a_hint_that_finds_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, written: str, way: str
):
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "a b.jpg").write_bytes(jpeg(1))
    coco = tmp_path / "coco.json"
    coco.write_text(json.dumps({"images": [{"id": 7, "file_name": written}]}))
    hint = f"images in {tmp_path}/images match when {way}"
    with pytest.raises(ConfigError) as caught:
        enumerate_inputs([str(coco)])
    assert str(caught.value).endswith(hint)

    listing = enumerate_inputs([str(coco)], image_root=str(tmp_path / "images"))
    assert len(listing.items) == 1
    assert f"1 of its images is not there; {hint}" in caplog.text


def test_a_plain_file_called_like_a_member_is_found_below_another_root(tmp_path: Path):
    for name in ("shard.tar#inner.jpg", "inner.jpg", LATIN):
        (tmp_path / name).write_bytes(jpeg(1))
    assert relocate("/old/shard.tar#inner.jpg", str(tmp_path)) == f"{tmp_path}/shard.tar#inner.jpg"
    assert relocate("/old/other.tar#inner.jpg", str(tmp_path)) == f"{tmp_path}/inner.jpg"
    escaped = f"file://{tmp_path}/{ESCAPED}"
    assert relocate(f"file:///old/{ESCAPED}", str(tmp_path)) == escaped
    item = ManifestItem(item_id=0, shard=0, kind="image", uri=escaped, image_id=1)
    assert read_item_bytes(item) == jpeg(1)


def test_a_video_whose_name_is_not_utf8_is_indexed_and_decoded(tmp_path: Path):
    made = write_video(tmp_path, Recipe(num_frames=5))
    path = tmp_path / os.fsdecode(b"\xe9.mp4")
    made.rename(path)
    listing = enumerate_inputs([str(tmp_path)])
    (item,) = listing.items
    assert (item.uri, item.is_video) == (f"file://{tmp_path}/%E9.mp4", True)
    planned = plan_videos([item.uri], VideoRequest(), address=None)
    (segment,) = table_to_items(items_to_table(make_manifest(listing, 64, planned)))
    frames = list(load_frames(segment))
    assert [frame.error for frame in frames] == [None] * 5
