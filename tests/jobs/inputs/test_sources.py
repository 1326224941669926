import json
import logging
import os
import re
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.errors import ConfigError
from jobs.inputs import files
from jobs.inputs.item import InputItem, item_by_name
from jobs.inputs.sources import Listing, enumerate_inputs
from jobs.storage import ObjectInfo
from jobs.storage.chunks import HashedChunks


def write(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(listing: Listing, root: Path) -> list[str]:
    return [os.path.relpath(item.uri, root) for item in listing.items]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("b.jpg", "a/2.PNG", "a/1.jpeg", "a-z.gif", "a/deep/x.TIFF"):
        write(root / name)
    for name in ("notes.md", "a/clip.doc", "a/noextension"):
        write(root / name)
    for name in (".hidden.jpg", ".cache/thumb.jpg", "a/.DS_Store"):
        write(root / name)
    return root


def test_folder_is_searched_at_any_depth_in_a_stable_order(folder: Path):
    listing = enumerate_inputs([str(folder)])
    assert names(listing, folder) == ["a-z.gif", "a/1.jpeg", "a/2.PNG", "a/deep/x.TIFF", "b.jpg"]
    assert (listing.skipped, listing.repeated, listing.annotations) == (3, 0, None)
    assert all(Path(item.uri).is_absolute() for item in listing.items)


def test_items_carry_size_and_modification_time(folder: Path):
    write(folder / "b.jpg", b"12345")
    os.utime(folder / "b.jpg", ns=(7, 1_000_000_000_000_000_001))
    (item,) = enumerate_inputs([str(folder / "b.jpg")]).items
    assert (item.size_bytes, item.mtime_ns, item.etag) == (5, 1_000_000_000_000_000_001, None)
    assert (item.width, item.height, item.image_id) == (None, None, None)


def test_relative_inputs_become_absolute_uris(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    listing = enumerate_inputs(["./a/../b.jpg"])
    assert [item.uri for item in listing.items] == [str(folder / "b.jpg")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg"]),
        ("?.jpg", ["b.jpg"]),
        ("a/[12].*", ["a/1.jpeg", "a/2.PNG"]),
        ("a/[!1].*", ["a/2.PNG"]),
        ("*/*.jpeg", ["a/1.jpeg"]),
        ("**/*.jpeg", ["a/1.jpeg"]),
        ("**/x.*", ["a/deep/x.TIFF"]),
        ("**", ["a-z.gif", "a/1.jpeg", "a/2.PNG", "a/deep/x.TIFF", "b.jpg"]),
        ("a/**", ["a/1.jpeg", "a/2.PNG", "a/deep/x.TIFF"]),
        ("*/**/*.TIFF", ["a/deep/x.TIFF"]),
        ("**/deep/**/*.TIFF", ["a/deep/x.TIFF"]),
        ("**/*.gif", ["a-z.gif"]),
    ],
)
def test_pattern_takes_what_matches(folder: Path, pattern: str, expected: list[str]):
    assert names(enumerate_inputs([f"{folder}/{pattern}"]), folder) == expected


def test_pattern_skips_and_counts_other_files(folder: Path):
    listing = enumerate_inputs([f"{folder}/a/*"])
    assert names(listing, folder) == ["a/1.jpeg", "a/2.PNG"]
    assert listing.skipped == 2


def test_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path):
    path = write(tmp_path / "a[1].jpg")
    write(tmp_path / "a1.jpg")
    assert [item.uri for item in enumerate_inputs([str(path)]).items] == [str(path)]


def test_named_file_is_an_item_whatever_its_name(folder: Path):
    assert names(enumerate_inputs([str(folder / "notes.md")]), folder) == ["notes.md"]
    assert names(enumerate_inputs([str(folder / ".hidden.jpg")]), folder) == [".hidden.jpg"]


def test_hidden_folder_that_is_named_is_searched(folder: Path):
    assert names(enumerate_inputs([str(folder / ".cache")]), folder) == [".cache/thumb.jpg"]


def test_link_back_to_a_folder_above_does_not_hang(folder: Path):
    (folder / "a" / "loop").symlink_to(folder, target_is_directory=True)
    for text in (str(folder), f"{folder}/**/*"):
        assert len(enumerate_inputs([text]).items) == 5


def test_linked_folder_is_searched(folder: Path, tmp_path: Path):
    (tmp_path / "alias").symlink_to(folder / "a", target_is_directory=True)
    listing = enumerate_inputs([str(tmp_path / "alias")])
    assert names(listing, tmp_path) == ["alias/1.jpeg", "alias/2.PNG", "alias/deep/x.TIFF"]


def test_item_found_twice_is_kept_once_where_it_was_first(folder: Path):
    listing = enumerate_inputs([str(folder / "b.jpg"), str(folder), f"{folder}/*.jpg"])
    assert names(listing, folder)[0] == "b.jpg"
    assert len(listing.items) == 5
    assert listing.repeated == 2


def test_limit_takes_the_first_of_all_inputs(folder: Path):
    listing = enumerate_inputs([str(folder / "b.jpg"), str(folder)], limit=3)
    assert names(listing, folder) == ["b.jpg", "a-z.gif", "a/1.jpeg"]


def test_missing_input_is_named_even_behind_the_limit(folder: Path):
    with pytest.raises(ConfigError, match=r"'.*/nothing' does not exist"):
        enumerate_inputs([str(folder), str(folder / "nothing")], limit=1)


def test_list_takes_lines_in_order_relative_to_its_own_folder(folder: Path):
    text = f"\ufeff# a comment\n\nb.jpg\r\n  a/2.PNG  \n{folder}/a-z.gif\nmissing.jpg\nnotes.md\n"
    path = write(folder / "a-list.txt", text.encode())
    listing = enumerate_inputs([str(path)])
    expected = ["b.jpg", "a/2.PNG", "a-z.gif", "missing.jpg", "notes.md"]
    assert names(listing, folder) == expected
    assert [item.size_bytes for item in listing.items] == [1, 1, 1, None, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n", "list.txt, line 1: 'a' is a folder, expected a file"),
        ("gs://bucket/a.jpg\n", "no storage for gs://"),
        ("\n# only this\n", "holds no image"),
    ],
)
def test_bad_list_is_refused(folder: Path, content: str, message: str):
    path = write(folder / "list.txt", content.encode())
    with pytest.raises(ConfigError, match=re.escape(message)):
        enumerate_inputs([str(path)])


ODD_SPACES = [*"\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\xa0\u3000"]


@pytest.mark.parametrize("odd", ODD_SPACES, ids=ascii)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=ascii)
def test_only_a_line_feed_ends_a_name_in_a_list(tmp_path: Path, odd: str, end: str):
    expected = [f"a{odd}b.jpg", f"{odd}c.jpg", f"d.jpg{odd}", "e.jpg"]
    blank = f"{end} \t{odd}{end}"
    path = write(tmp_path / "list.txt", blank.join(expected).encode())
    for name in expected:
        write(tmp_path / name, b"x")
    listing = enumerate_inputs([str(path)])
    assert names(listing, tmp_path) == expected
    assert [item.size_bytes for item in listing.items] == [1] * len(expected)


def test_a_carriage_return_ends_a_name_only_in_a_list_without_line_feeds(tmp_path: Path):
    for name in ("a.jpg", "b.jpg", "a\rb.jpg"):
        write(tmp_path / name, b"x")
    old = write(tmp_path / "old.txt", b"a.jpg\rb.jpg\r")
    new = write(tmp_path / "new.txt", b"a\rb.jpg\nb.jpg\n")
    assert names(enumerate_inputs([str(old)]), tmp_path) == ["a.jpg", "b.jpg"]
    assert names(enumerate_inputs([str(new)]), tmp_path) == ["a\rb.jpg", "b.jpg"]


@given(text=st.text("a\n\r ö\ufeff"), chunk_bytes=st.integers(1, 5))
def test_a_list_has_the_same_lines_whatever_its_chunks(
    tmp_path_factory: pytest.TempPathFactory, text: str, chunk_bytes: int
):
    path = write(tmp_path_factory.mktemp("list") / "list.txt", text.encode())
    plain = text.encode().decode("utf-8-sig")
    expected = plain.split("\r")
    if "\n" in plain:
        expected = [line.removesuffix("\r") for line in plain.split("\n")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "HashedChunks", partial(HashedChunks, chunk_bytes=chunk_bytes))
        assert list(files._lines(str(path))) == expected


def test_a_line_that_is_too_long_for_a_name_is_refused(tmp_path: Path):
    path = write(tmp_path / "list.txt", b"a.jpg\n" + bytes(2**20 + 1))
    with pytest.raises(ConfigError, match=r"list.txt, line 2: over 1048576 bytes, no name"):
        enumerate_inputs([str(path)])


def test_list_that_is_not_text_is_refused(tmp_path: Path):
    path = write(tmp_path / "list.txt", b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"list.txt, line 1: .* is not a list in UTF-8"):
        enumerate_inputs([str(path)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}/missing.jpg", "missing.jpg' does not exist"),
        ("{}/*.webp", "no file matches '"),
        ("{}/*.md", "holds no image or video, 1 files of other kinds"),
        ("{}/empty", "empty' holds no image or video, 0 files of other kinds"),
        ("gs://bucket/folder", "no storage for gs://"),
        ("", "is not a path"),
    ],
)
def test_input_that_cannot_work_is_named_in_one_line(folder: Path, text: str, message: str):
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        enumerate_inputs([text.format(folder)])
    assert "\n" not in str(raised.value)


def test_no_input_and_no_limit_are_refused(folder: Path):
    with pytest.raises(ConfigError, match="no input"):
        enumerate_inputs([])
    with pytest.raises(ConfigError, match="limit 0 is below 1"):
        enumerate_inputs([str(folder)], limit=0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_input_is_refused(folder: Path):
    (folder / "b.jpg").chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        enumerate_inputs([str(folder / "b.jpg")])


def write_coco(path: Path, images: list[tuple[int, str, int, int]]) -> Path:
    entries = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, name, width, height in images
    ]
    document = {"images": entries, "annotations": [], "categories": []}
    return write(path, json.dumps(document).encode())


IMAGES = [(7, "b.jpg", 640, 480), (3, "gone.jpg", 480, 640)]


def test_coco_file_gives_ids_and_sizes_and_keeps_missing_images(folder: Path, tmp_path: Path):
    path = write_coco(tmp_path / "elsewhere" / "labels.json", IMAGES)
    listing = enumerate_inputs([str(path)], image_root=str(folder))
    assert listing.annotations == str(path)
    assert [(item.image_id, item.width, item.height) for item in listing.items] == [
        (7, 640, 480),
        (3, 480, 640),
    ]
    assert [item.uri for item in listing.items] == [f"{folder}/b.jpg", f"{folder}/gone.jpg"]
    assert [item.size_bytes for item in listing.items] == [1, None]


def test_coco_file_beside_another_input_gives_no_ids_to_the_run(folder: Path):
    path = write_coco(folder / "labels.json", IMAGES)
    listing = enumerate_inputs([str(path), str(folder / "a")])
    assert listing.annotations is None
    assert len(listing.items) == 5


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("set/labels.json", "set"),
        ("set/labels.json", "set/images"),
        ("set/annotations/labels.json", "set/images"),
        ("set/annotations/instances_val2017.json", "set/val2017"),
        ("set/annotations/instances_val2017.json", "set/images/val2017"),
    ],
)
def test_images_of_a_coco_file_are_found_near_it(tmp_path: Path, annotations: str, images: str):
    path = write_coco(tmp_path / annotations, IMAGES)
    image = write(tmp_path / images / "b.jpg")
    assert next(iter(enumerate_inputs([str(path)]).items)).uri == str(image)


def test_coco_file_without_images_near_it_asks_for_the_root(tmp_path: Path):
    path = write_coco(tmp_path / "labels.json", IMAGES)
    with pytest.raises(ConfigError, match="give --image-root"):
        enumerate_inputs([str(path)])


def test_bad_coco_inputs_are_refused(folder: Path, tmp_path: Path):
    path = write_coco(folder / "labels.json", IMAGES)
    with pytest.raises(ConfigError, match=r"image root '/nowhere' is no folder"):
        enumerate_inputs([str(path)], image_root="/nowhere")
    with pytest.raises(ConfigError, match=r"image root .* but no input is a COCO json"):
        enumerate_inputs([str(folder)], image_root=str(folder))
    twice = write_coco(folder / "twice.json", [*IMAGES, (9, "./b.jpg", 1, 1)])
    with pytest.raises(ConfigError, match=r"images 7 and 9 are both '.*/b.jpg'"):
        enumerate_inputs([str(twice)])
    with pytest.raises(ConfigError, match=r"broken.json: its outermost object is not JSON"):
        enumerate_inputs([str(write(tmp_path / "broken.json", b"{nope"))])


def test_real_coco_folder_needs_no_root(shared_data: Path):
    path = shared_data / "coco_tiny" / "annotations" / "instances_val2017.json"
    listing = enumerate_inputs([str(path)])
    assert len(listing.items) == 50
    assert all(Path(item.uri).is_file() for item in listing.items)
    assert listing.annotations == str(path)


def test_videos_are_found_by_name_and_when_named_by_content(tmp_path: Path):
    for name in ("b.MP4", "a.mkv", "c.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    found = enumerate_inputs([str(tmp_path)])
    assert [(item.uri[-5:], item.is_video) for item in found.items] == [
        ("a.mkv", True),
        ("b.MP4", True),
        ("c.jpg", False),
    ]
    assert found.skipped == 1
    unnamed = tmp_path / "upload"
    unnamed.write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(600))
    photo = tmp_path / "photo"
    photo.write_bytes(b"\x00\x00\x00\x20ftypavif" + bytes(600))
    named = tmp_path / "named.txt"
    named.write_text("upload\nphoto\nb.MP4\ngone.webm\n")
    for inputs in ([str(unnamed), str(photo)], [str(named)]):
        items = list(enumerate_inputs(inputs).items)
        assert [item.is_video for item in items] == [True, False, True, True][: len(items)]


def test_a_uri_column_that_is_no_utf8_is_refused_in_one_line(tmp_path: Path):
    data = b"a.jpg\xfe.jpg"
    offsets = pa.array([0, 5, len(data)], pa.int32()).buffers()[1]
    column = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(data))
    pq.write_table(pa.table({"uri": column}), tmp_path / "uris.parquet")
    with pytest.raises(ConfigError, match=r"uris.parquet: column uri: .*can't decode byte 0xfe"):
        enumerate_inputs([str(tmp_path / "uris.parquet")])


def test_a_long_listing_says_how_many_files_it_has_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def slow(info: ObjectInfo) -> InputItem:
        time.sleep(0.1)
        return item_by_name(info)

    monkeypatch.setattr("jobs.waiting.FIRST_S", 0.25)
    monkeypatch.setattr("jobs.inputs.files.item_by_name", slow)
    caplog.set_level(logging.INFO)
    enumerate_inputs([str(folder)])
    line, *_ = (line for line in caplog.messages if line.startswith("listing"))
    assert re.fullmatch(rf"listing '{folder}': [2-7] files so far", line)
