"""A packed file as an input is refused before anything is written; in a folder it is named."""

import bz2
import gzip
import io
import json
import logging
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fcos_core.errors import AnnotationError, ConfigError
from jobs.annotations.coco_json import load_annotations
from jobs.inputs.sources import enumerate_inputs


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", data)
    return buffer.getvalue()


def by_arrow(codec: str) -> Callable[[bytes], bytes]:
    return lambda data: pa.compress(data, codec, asbytes=True)


PACKED = [
    pytest.param(gzip.compress, "gz", "compressed with gzip", id="gzip"),
    pytest.param(bz2.compress, "bz2", "compressed with bzip2", id="bzip2"),
    pytest.param(lzma.compress, "xz", "compressed with xz", id="xz"),
    pytest.param(by_arrow("zstd"), "zst", "compressed with zstd", id="zstd"),
    pytest.param(by_arrow("lz4"), "lz4", "compressed with lz4", id="lz4"),
    pytest.param(zipped, "zip", "a zip archive", id="zip"),
]


@pytest.mark.parametrize("kind", ["tar", "json", "parquet", "jpg"])
@pytest.mark.parametrize(("pack", "extension", "reason"), PACKED)
def test_a_packed_input_is_refused_with_what_it_is(
    tmp_path: Path, pack: Callable[[bytes], bytes], extension: str, reason: str, kind: str
):
    path = tmp_path / f"photos.{kind}.{extension}"
    path.write_bytes(pack(tar() if kind == "tar" else b"{}" * 40))
    with pytest.raises(ConfigError, match=f"photos.*is {reason}.*unpack it first"):
        enumerate_inputs([str(path)])


@pytest.mark.parametrize("name", ["photos", "photos.tar", "photos.data"])
def test_content_tells_that_an_input_is_packed(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(gzip.compress(tar()))
    with pytest.raises(ConfigError, match=r"compressed with gzip.*unpack it first") as caught:
        enumerate_inputs([str(tmp_path / name)])
    assert "invalid header" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["", "/*"])
def test_archives_in_a_folder_are_counted_as_skipped_and_named(
    tmp_path: Path, pattern: str, caplog: pytest.LogCaptureFixture
):
    for name in ("a.tar.gz", "b.zip", "c.tar", "d.jpg", "e.txt"):
        (tmp_path / name).write_bytes(b"content")
    with caplog.at_level(logging.WARNING):
        listing = enumerate_inputs([f"{tmp_path}{pattern}"])
    assert [item.uri for item in listing.items] == [f"{tmp_path}/d.jpg"]
    assert listing.skipped == 4
    (message,) = caplog.messages
    assert f"3 archives are skipped, the first is {tmp_path}/" in message


@pytest.mark.parametrize(("pack", "extension", "reason"), PACKED)
def test_packed_annotations_are_refused_with_what_they_are(
    tmp_path: Path, pack: Callable[[bytes], bytes], extension: str, reason: str
):
    path = tmp_path / f"truth.json.{extension}"
    path.write_bytes(pack(json.dumps({"images": [], "annotations": [], "categories": []}).encode()))
    with pytest.raises(AnnotationError, match=f"is {reason}: unpack it first"):
        load_annotations(str(path))
