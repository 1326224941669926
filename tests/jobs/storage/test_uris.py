"""Paths and uris that users type, and the uris made from them."""

from pathlib import Path

import pytest

from fcos_core.errors import ConfigError
from jobs.storage import absolute, join, storage_for
from jobs.storage.patterns import is_hidden
from jobs.storage.s3 import storage as s3_storage


@pytest.mark.parametrize(
    "name",
    [
        "a b.jpg",
        "a#b.jpg",
        "100%25.jpg",
        "schön/пример.jpg",
        "two\nlines.jpg",
        "~nobody-here/x",
        "a?b",
    ],
)
def test_a_local_name_stands_for_itself(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert absolute(name) == f"{tmp_path}/{name}"
    assert absolute(f"{tmp_path}/{name}") == f"{tmp_path}/{name}"


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert absolute("~/photos") == "/home/somebody/photos"


def test_links_keep_their_name_except_where_dots_follow(tmp_path: Path):
    real = tmp_path / "deep" / "real"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    assert absolute(f"{tmp_path}/link/./x") == f"{tmp_path}/link/x"
    # As in a shell: the parent of the folder that the link leads to, which is not tmp_path.
    assert absolute(f"{tmp_path}/link/../x") == f"{tmp_path}/deep/x"


def test_a_file_uri_is_decoded_and_others_are_kept():
    assert absolute("file:///data/a%20b%23c#d") == "/data/a b#c#d"
    assert absolute("file://localhost/data/x") == "/data/x"
    assert absolute("s3://bucket/a%20b") == "s3://bucket/a%20b"


@pytest.mark.parametrize("text", ["", "a\0b", "file://elsewhere/x", "file://", "file:///a%00b"])
def test_text_that_is_no_path_is_refused(text: str):
    with pytest.raises(ConfigError) as caught:
        absolute(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["gs://bucket/key", "hdfs://host/key"])
def test_an_unknown_scheme_is_refused(uri: str):
    with pytest.raises(ConfigError, match="local path"):
        storage_for(uri)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("/run", "detections", "a.parquet"), "/run/detections/a.parquet"),
        (("/run/", "/a/"), "/run/a"),
        (("/", "a"), "/a"),
        (("s3://bucket", "a b", "c#"), "s3://bucket/a b/c#"),
    ],
)
def test_join_puts_one_slash_between(parts: tuple[str, ...], expected: str):
    assert join(*parts) == expected


def test_a_name_that_begins_with_a_dot_is_hidden_and_the_parts_that_lead_elsewhere_are_not():
    for path in ("a.jpg", "./a", "././a", "../a", "x/./a", "x/../a", "/x/./a", "x/.", "..", ""):
        assert not is_hidden(path), path
        assert not s3_storage._is_hidden(path.split("/"), ["**"]), path
    for path in (".a", "./.a", "../.a/b", "x/.y/a", "...", "..a", "x/./.a"):
        assert is_hidden(path), path
    assert not s3_storage._is_hidden(["x", ".", "a.jpg"], ["x", "*", "*.jpg"])
    assert s3_storage._is_hidden(["x", ".y", "a.jpg"], ["x", "*", "*.jpg"])
