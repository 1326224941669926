"""Archives as inputs, and the bytes of items: what the listing names is what is read back."""

# pyright: reportUnknownParameterType=false
# pyarrow has no types

import io
import os
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ConfigError, ImageError, StorageError
from jobs.inputs.item_bytes import MAX_BYTES, read_item_bytes
from jobs.inputs.parquet_images import ParquetImages
from jobs.inputs.sources import enumerate_inputs
from jobs.inputs.tar_images import read_tar_index
from jobs.planning.manifest import make_manifest
from jobs.rundir.rows import ManifestItem
from jobs.storage.base import ANY_VERSION, ObjectInfo


def item(uri: str | Path) -> ManifestItem:
    return ManifestItem(item_id=0, shard=0, kind="image", uri=str(uri), image_id=1)


def read_all(*inputs: str | Path) -> dict[str, bytes]:
    manifest = make_manifest(enumerate_inputs([str(text) for text in inputs]), 4)
    return {entry.uri: read_item_bytes(entry) for entry in manifest}


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, columns: dict[str, pa.Array], group_rows: int = 3) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=group_rows)
    return path


MEMBERS = {
    "0001.jpg": b"first",
    "0001.cls": b"3",
    "sub/0002.PNG": b"second " * 5000,
    "sub/._0002.PNG": b"hidden",
    "n#1.jpg": b"third",
    "empty.jpg": b"",
}
IMAGES = ["0001.jpg", "sub/0002.PNG", "n#1.jpg", "empty.jpg"]


def test_plain_files_are_read_whole(tmp_path: Path):
    (tmp_path / "a b%20ü.jpg").write_bytes(b"content")
    assert read_all(tmp_path) == {f"{tmp_path}/a b%20ü.jpg": b"content"}


def test_tar_members_are_listed_in_order_and_read_back(tmp_path: Path):
    path = write_tar(tmp_path / "shard-000.tar", MEMBERS)
    listing = enumerate_inputs([str(path)])
    assert [entry.uri for entry in listing.items] == [f"{path}#{name}" for name in IMAGES]
    assert [entry.size_bytes for entry in listing.items] == [5, 35000, 5, 0]
    assert {entry.mtime_ns for entry in listing.items} == {path.stat().st_mtime_ns}
    assert listing.skipped == 1
    assert list(read_all(path).values()) == [MEMBERS[name] for name in IMAGES]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_dialect_with_long_names(tmp_path: Path, kind: int):
    name = "d" * 90 + "/" + "n" * 60 + ".jpg"
    with tarfile.open(tmp_path / "a.tar", "w", format=kind) as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        archive.addfile(info, io.BytesIO(b"long"))
    assert read_all(tmp_path / "a.tar") == {f"{tmp_path}/a.tar#{name}": b"long"}


def test_of_two_members_with_one_name_the_later_counts(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"old", "2.jpg": b"two"})
    write_tar(path, {"1.jpg": b"new"}, "a")
    assert list(read_all(path).values()) == [b"new", b"two"]


def test_links_in_a_tar_are_no_images(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ConfigError, match="holds no image"):
        enumerate_inputs([str(tmp_path / "a.tar")])


def test_a_pattern_of_archives_gives_their_images(tmp_path: Path):
    for number in (2, 1):
        write_tar(tmp_path / f"{number}.tar", {"x.jpg": b"%d" % number})
    found = read_all(f"{tmp_path}/*.tar")
    assert found == {f"{tmp_path}/1.tar#x.jpg": b"1", f"{tmp_path}/2.tar#x.jpg": b"2"}
    assert list(found.values()) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("packed", "compressed with gzip, unpack it first"),
        ("text", "no readable tar archive"),
        ("empty", "no readable tar archive: empty file"),
        ("cut", "no readable tar archive: unexpected end of data"),
    ],
)
def test_bad_tar_is_refused_in_one_line(tmp_path: Path, name: str, message: str):
    write_tar(tmp_path / "packed.tar", MEMBERS, "w:gz")
    (tmp_path / "text.tar").write_bytes(b"no archive" * 200)
    (tmp_path / "empty.tar").write_bytes(b"")
    os.truncate(write_tar(tmp_path / "cut.tar", MEMBERS), 3000)
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        enumerate_inputs([f"{tmp_path}/{name}.tar"])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ", "a.tar.zst", "a.txz"])
def test_a_compressed_archive_is_refused_with_its_reason(tmp_path: Path, name: str):
    path = write_tar(tmp_path / name, MEMBERS, "w:gz")
    for text in (path, f"{tmp_path}/?{name[1:]}"):
        with pytest.raises(ConfigError, match="compressed with gzip, unpack it first"):
            enumerate_inputs([str(text)])
    listed = tmp_path / "list.txt"
    listed.write_text(f"{name}#0001.jpg\n")
    with pytest.raises(ImageError, match=r"#0001.jpg: .*compressed with gzip, unpack it first"):
        read_all(listed)


def test_a_file_that_is_only_called_tar_is_no_archive(tmp_path: Path):
    path = write_tar(tmp_path / "tar", MEMBERS)
    assert list(read_all(path)) == [str(path)]


ROWS = [b"zero", b"one", b"two", b"three", b"four", b"", b"six"]


@pytest.mark.parametrize("column", ["bytes", "image", "image_bytes"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_parquet_rows_are_read_back_across_row_groups(
    tmp_path: Path, column: str, kind: pa.DataType
):
    path = write_parquet(
        tmp_path / "p.parquet",
        {"label": pa.array(range(7)), column: pa.array(ROWS, kind)},
    )
    assert read_all(path) == {f"{path}#{row}": data for row, data in enumerate(ROWS)}


def test_hugging_face_image_struct_is_read(tmp_path: Path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = [{"bytes": data, "path": None} for data in ROWS]
    path = write_parquet(tmp_path / "p.parquet", {"image": pa.array(values, kind)})
    assert list(read_all(path).values()) == ROWS


def test_parquet_of_uris_names_files_relative_to_its_folder(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").write_bytes(b"b")
    uris = ["b.jpg", str(tmp_path / "a.jpg")]
    path = write_parquet(tmp_path / "p.parquet", {"uri": pa.array(uris)})
    assert read_all(path) == {f"{tmp_path}/b.jpg": b"b", f"{tmp_path}/a.jpg": b"a"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pixels": pa.array([b"x"])}, "no column of image bytes (bytes, image, image_bytes)"),
        ({"image": pa.array(["a.jpg"])}, "and no text column uri; it has image"),
        ({"uri": pa.array(["a.jpg", None])}, "p.parquet, row 1: uri is None"),
        ({"uri": pa.array([], pa.string())}, "holds no image"),
    ],
)
def test_parquet_without_images_is_refused(
    tmp_path: Path, columns: dict[str, pa.Array], message: str
):
    path = write_parquet(tmp_path / "p.parquet", columns)
    with pytest.raises(ConfigError, match=re.escape(message)):
        enumerate_inputs([str(path)])


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path):
    (tmp_path / "p.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(ConfigError, match="no readable Parquet file"):
        enumerate_inputs([f"{tmp_path}/p.parquet"])


def test_null_and_missing_rows_are_errors_of_the_item(tmp_path: Path):
    path = write_parquet(tmp_path / "p.parquet", {"image": pa.array([b"a", None])})
    with pytest.raises(ImageError, match=r"p.parquet#1: column image is null"):
        read_item_bytes(item(f"{path}#1"))
    with pytest.raises(ImageError, match=r"no row 2, 2 rows"):
        read_item_bytes(item(f"{path}#2"))
    with pytest.raises(ImageError, match=r"'x' is no row number"):
        read_item_bytes(item(f"{path}#x"))


def test_a_flipped_bit_in_a_parquet_page_is_an_error_of_the_item(tmp_path: Path):
    path = tmp_path / "p.parquet"
    table = pa.table({"image": pa.array([b"payload" * 50])})
    pq.write_table(
        table,
        path,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    data = bytearray(path.read_bytes())
    data[data.index(b"payload") + 9] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"#0: row group 0: .*CRC"):
        read_item_bytes(item(f"{path}#0"))


def test_number_sign_in_a_plain_name_is_no_archive(tmp_path: Path):
    plain = tmp_path / "a.tar#1.jpg"
    plain.write_bytes(b"plain")
    assert read_all(tmp_path) == {str(plain): b"plain"}
    write_tar(tmp_path / "a.tar", {"1.jpg": b"member", "2.jpg": b"other"})
    assert read_item_bytes(item(plain)) == b"plain", "the plain file comes first"
    assert read_item_bytes(item(f"{tmp_path}/a.tar#2.jpg")) == b"other"


def test_number_sign_in_the_folder_of_an_archive(tmp_path: Path):
    folder = tmp_path / "x.tar#y"
    folder.mkdir()
    path = write_tar(folder / "İ#b.TAR", {"c.tar#d.jpg": b"found"})
    assert read_all(path) == {f"{path}#c.tar#d.jpg": b"found"}


def test_missing_files_are_errors_of_the_item_and_are_named(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", MEMBERS)
    for uri in (tmp_path / "gone.jpg", f"{tmp_path}/gone.tar#a.jpg", tmp_path / "a#b.jpg"):
        message = f"{str(uri)!r} cannot be read: No such file"
        with pytest.raises(ImageError, match=re.escape(message)):
            read_item_bytes(item(uri))
    with pytest.raises(ImageError, match=r"the archive has no file 'gone.jpg'"):
        read_item_bytes(item(f"{path}#gone.jpg"))
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        read_all(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_an_error_of_the_item(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").chmod(0)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read_item_bytes(item(tmp_path / "a.jpg"))


def test_a_failing_disk_is_not_an_error_of_the_item():
    if not Path("/proc/self/mem").is_file():
        pytest.skip("needs a file whose reading fails with an input/output error")
    with pytest.raises(StorageError, match="Input/output error"):
        read_item_bytes(item("/proc/self/mem"))


def test_a_failing_disk_is_a_storage_error_in_the_readers_of_archives(
    monkeypatch: pytest.MonkeyPatch,
):
    if not Path("/proc/self/mem").is_file():
        pytest.skip("needs a file whose reading fails with an input/output error")
    broken = ObjectInfo(uri="/proc/self/mem", size_bytes=4096, mtime_ns=None, etag=None)
    monkeypatch.setattr(ObjectInfo, "version", ANY_VERSION)  # such a file claims to be empty
    for read in (read_tar_index, ParquetImages):
        with pytest.raises(StorageError, match="Input/output error"):
            read(broken)


def test_huge_file_is_refused_before_it_is_read(tmp_path: Path):
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageError, match=r"huge.jpg' has 1073741825 bytes, limit 1073741824"):
        read_item_bytes(item(tmp_path / "huge.jpg"))


def test_an_archive_truncated_after_the_plan_is_an_error_of_the_item(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", MEMBERS)
    manifest = make_manifest(enumerate_inputs([str(path)]), 8)
    assert read_item_bytes(manifest[0]) == b"first"
    os.truncate(path, 3000)
    with pytest.raises(ImageError, match=r"the archive has changed: it was .*, now it is 3000"):
        read_item_bytes(manifest[1])
    unversioned = item(manifest[1].uri)
    with pytest.raises(ImageError, match="no readable tar archive: unexpected end of data"):
        read_item_bytes(unversioned)


def test_a_file_changed_after_the_plan_is_an_error_of_the_item(tmp_path: Path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"first")
    (planned,) = make_manifest(enumerate_inputs([str(path)]), 8)
    assert read_item_bytes(planned) == b"first"
    path.write_bytes(b"second")
    now = path.stat()
    with pytest.raises(ImageError) as caught:
        read_item_bytes(planned)
    assert str(caught.value) == (
        f"{str(path)!r} has changed: it was 5 bytes, mtime {planned.mtime_ns} ns, "
        f"now it is 6 bytes, mtime {now.st_mtime_ns} ns"
    )
    os.utime(path, ns=(0, planned.mtime_ns or 0))
    with pytest.raises(ImageError, match="it was 5 bytes"):
        read_item_bytes(planned)


def test_changed_archive_is_indexed_again(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one"})
    assert read_item_bytes(item(f"{path}#1.jpg")) == b"one"
    write_tar(path, {"0.jpg": b"longer than before" * 100, "1.jpg": b"uno"})
    assert read_item_bytes(item(f"{path}#1.jpg")) == b"uno"


def test_many_threads_read_the_same_archives(tmp_path: Path):
    members = {f"{i:03}.jpg": b"%d" % i * (i + 1) for i in range(100)}
    tar = write_tar(tmp_path / "a.tar", members)
    values = list(members.values())
    parquet = write_parquet(tmp_path / "b.parquet", {"image": pa.array(values)}, group_rows=7)
    manifest = make_manifest(enumerate_inputs([str(tar), str(parquet)]), 8)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read_item_bytes, manifest)) == values + values
