"""Listing a bucket: complete, in order, in pages, several folders at once."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.storage.s3 import listing as s3_listing
from jobs.storage.s3.storage import S3Storage

storage = S3Storage()


def put(s3: str, keys: list[str]) -> list[str]:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: storage.write(f"{s3}/{key}", key.encode()), keys))
    return sorted((f"{s3}/{key}" for key in keys), key=os.fsencode)


def uris(prefix: str) -> list[str]:
    return [info.uri for info in storage.list(prefix)]


@pytest.fixture(params=[1000, 3])
def page_keys(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(s3_listing, "PAGE_KEYS", request.param)
    return request.param


@pytest.mark.usefixtures("page_keys")
@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([f"{i:03d}.jpg" for i in range(30)], id="flat"),
        pytest.param([f"{i % 3}/{i:03d}.jpg" for i in range(30)], id="folders"),
        pytest.param([f"only/one/{i % 4}/{i:03d}.jpg" for i in range(30)], id="nested"),
        pytest.param(["0.jpg", "1/a", "1/b", "2.jpg", "3/c/d", "3/c/e", "3/f", "4"], id="mixed"),
        pytest.param([f"{i:02d}/x" for i in range(25)], id="a folder each"),
        pytest.param([f"{'d/' * i}x" for i in range(20)], id="deep"),
        pytest.param(["ä/1", "写/2", "🙂/3", "\uffee/4", "z/5"], id="order of bytes"),
    ],
)
def test_every_object_is_listed_once_in_the_order_of_its_bytes(s3: str, keys: list[str]):
    expected = put(s3, keys)
    assert uris(s3) == expected
    assert uris(f"{s3}/") == expected


@pytest.mark.usefixtures("page_keys")
def test_a_listing_that_is_not_finished_leaves_no_thread_behind(s3: str):
    expected = put(s3, [f"{i % 4}/{i:03d}" for i in range(40)])
    listing = iter(storage.list(s3))
    assert next(listing).uri == expected[0]
    listing.close()

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("s3-list")]


def test_a_folder_does_not_include_names_with_the_same_beginning(s3: str):
    put(s3, ["a/b/1", "a/bc/2", "a/b.jpg"])
    assert uris(f"{s3}/a/b") == [f"{s3}/a/b/1"]
    assert uris(f"{s3}/a/b.jpg") == [f"{s3}/a/b.jpg"]
    assert uris(f"{s3}/a/none") == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["1.jpg", "2.jpg"]),
        ("?.jpg", ["1.jpg", "2.jpg"]),
        ("[2-3].jpg", ["2.jpg"]),
        ("*/*.jpg", ["a/3.jpg", "ab/4.jpg"]),
        ("a*/4.jpg", ["ab/4.jpg"]),
        ("a/*", ["a/3.jpg", "a/x.txt"]),
        ("**", ["1.jpg", "2.jpg", "a/3.jpg", "a/deep/5.jpg", "a/x.txt", "ab/4.jpg"]),
        ("**/*.jpg", ["1.jpg", "2.jpg", "a/3.jpg", "a/deep/5.jpg", "ab/4.jpg"]),
        ("a/**/5.jpg", ["a/deep/5.jpg"]),
        (".h*", [".hidden.jpg"]),
        ("none*", []),
    ],
)
def test_a_pattern_matches_on_s3_as_on_disk(s3: str, pattern: str, expected: list[str]):
    put(s3, ["1.jpg", "2.jpg", "a/3.jpg", "a/x.txt", "a/deep/5.jpg", "ab/4.jpg", ".hidden.jpg"])
    found = sorted(info.uri for info in storage.glob(f"{s3}/{pattern}"))
    assert found == [f"{s3}/{key}" for key in expected]
