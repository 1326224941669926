"""Every image of a run is exactly one annotated image, or the command says which is not."""

import time

import numpy as np
import pytest

from fcos_core.errors import ConfigError
from jobs.annotations.coco_json import CocoAnnotations
from jobs.annotations.join import Join, join_annotations

URI = "/data/instances.json"


def annotated(names: dict[int, str]) -> CocoAnnotations:
    none = np.zeros(0, np.int64)
    return CocoAnnotations(
        uri=URI,
        sha256="0" * 64,
        image_ids=np.array(list(names), np.int64),
        image_sizes=np.full((len(names), 2), 10),
        file_names=tuple(names.values()),
        categories=(),
        ids=none,
        image_index=none,
        labels=none,
        boxes=np.zeros((0, 4)),
        areas=np.zeros(0),
        is_crowd=np.zeros(0, np.bool_),
        num_areas_filled=0,
    )


def join(uris: list[str], names: dict[int, str]) -> Join:
    image_ids = list(range(1, len(uris) + 1))
    return join_annotations(image_ids, uris, annotated(names), input_annotations=None)


def pairs(joined: Join) -> dict[int, int]:
    return dict(zip(joined.image_ids.tolist(), joined.annotated_ids.tolist(), strict=True))


@pytest.mark.parametrize(
    ("uri", "file_name"),
    [
        pytest.param("/data/val/1.jpg", "1.jpg", id="bare name"),
        pytest.param("/data/val/1.jpg", "val/1.jpg", id="with its folder"),
        pytest.param("/data/val/1.jpg", "/data/val/1.jpg", id="absolute"),
        pytest.param("/data/val/1.jpg", "./val//1.jpg", id="untidy"),
        pytest.param("/data/val/1.jpg", "../val/1.jpg", id="from beside"),
        pytest.param("s3://bucket/val/1.jpg", "val/1.jpg", id="object"),
        pytest.param("/data/a.tar#1.jpg", "1.jpg", id="archive member"),
        pytest.param("/data/a.tar#./val/1.jpg", "val/1.jpg", id="archive member in a folder"),
        pytest.param("/data/a.tar#././val/./1.jpg", "val/1.jpg", id="archive member with dots"),
        pytest.param("/data/a.tar#../val/x/../1.jpg", "val/1.jpg", id="member beside a folder"),
        pytest.param("/data/a#1.jpg", "a#1.jpg", id="a hash in a plain name"),
        pytest.param("/data/ü ö%20.jpg", "ü ö%20.jpg", id="nothing is decoded"),
    ],
)
def test_a_file_name_that_ends_the_uri_joins(uri: str, file_name: str):
    joined = join([uri], {42: file_name, 43: "other.jpg"})

    assert pairs(joined) == {1: 42}
    assert joined.by == "file_name"
    assert joined.num_not_in_run == 1


@pytest.mark.parametrize(
    ("uri", "file_name"),
    [
        pytest.param("/data/val/11.jpg", "1.jpg", id="half a component"),
        pytest.param("/data/oval/1.jpg", "val/1.jpg", id="half a folder"),
        pytest.param("/data/a#1.jpg", "1.jpg", id="half a name with a hash"),
        pytest.param("/data/val/1.JPG", "1.jpg", id="other case"),
        pytest.param("/1.jpg", "data/1.jpg", id="longer than the uri"),
    ],
)
def test_a_file_name_that_only_looks_alike_does_not_join(uri: str, file_name: str):
    with pytest.raises(ConfigError, match="1 has no entry with its file_name"):
        join([uri], {42: file_name})


def test_equal_names_in_two_folders_join_by_folder():
    joined = join(["/d/a/1.jpg", "/d/b/1.jpg"], {7: "b/1.jpg", 8: "a/1.jpg"})
    assert pairs(joined) == {1: 8, 2: 7}


def test_the_longest_name_wins_when_the_shorter_one_is_another_images():
    joined = join(["/d/1.jpg", "/d/a/1.jpg"], {7: "1.jpg", 8: "a/1.jpg"})
    assert pairs(joined) == {1: 7, 2: 8}


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        pytest.param(["/d/a/1.jpg", "/d/b/1.jpg"], {7: "1.jpg"}, id="one entry, two images"),
        pytest.param(["/d/1.jpg"], {7: "1.jpg", 8: "./1.jpg"}, id="two entries, one image"),
        pytest.param(["/d/a/1.jpg"], {7: "1.jpg", 8: "a/1.jpg"}, id="the shorter one has no other"),
        pytest.param(["/d/1.jpg", "/d/1.jpg"], {7: "1.jpg"}, id="the same image twice"),
    ],
)
def test_what_could_be_joined_in_two_ways_is_refused(uris: list[str], names: dict[int, str]):
    with pytest.raises(
        ConfigError, match=r"shares? an entry or match(?:es)? several by file_name, such as"
    ):
        join(uris, names)


def test_the_message_counts_and_gives_three_examples():
    uris = [f"/d/{n}.jpg" for n in range(10)]

    with pytest.raises(ConfigError) as caught:
        join(uris, {0: "0.jpg"})

    assert str(caught.value) == (
        f"{URI}: of the run's 10 images, 9 have no entry with their file_name, "
        "such as /d/1.jpg, /d/2.jpg, /d/3.jpg"
    )


def test_the_file_that_was_the_input_joins_by_id_even_where_names_repeat():
    names = {30: "a/1.jpg", 20: "b/1.jpg", 10: "c/2.jpg"}

    joined = join_annotations(
        [20, 30], ["/d/b/1.jpg", "/d/a/1.jpg"], annotated(names), input_annotations=URI
    )

    assert pairs(joined) == {20: 20, 30: 30}
    assert (joined.by, joined.num_not_in_run) == ("image_id", 1)


@pytest.mark.parametrize("names", [{1: "y.jpg", 2: "x.jpg"}, {5: "x.jpg", 6: "y.jpg"}])
def test_an_input_file_that_was_renumbered_since_is_refused(names: dict[int, str]):
    with pytest.raises(ConfigError, match="changed since the run read it: 2 of 2 image ids"):
        join_annotations([1, 2], ["/d/x.jpg", "/d/y.jpg"], annotated(names), input_annotations=URI)


def test_another_file_with_the_same_images_joins_by_name_not_by_its_ids():
    joined = join_annotations(
        [1, 2],
        ["/d/x.jpg", "/d/y.jpg"],
        annotated({1: "y.jpg", 2: "x.jpg"}),
        input_annotations="/elsewhere/instances.json",
    )
    assert pairs(joined) == {1: 2, 2: 1}


def test_a_hundred_thousand_images_join_in_seconds():
    count = 100_000
    names = {n: f"train/{n % 100:02d}/{n:08d}.jpg" for n in range(count)}
    uris = [f"/mnt/data/coco/{name}" for name in names.values()]

    start = time.process_time()
    joined = join(uris, names)
    seconds = time.process_time() - start

    assert joined.annotated_ids.tolist() == list(range(count))
    assert seconds < 20  # of one core; about 1 s here


@pytest.mark.parametrize(
    ("uri", "file_name"),
    [
        pytest.param("/d/shard.tar#inner.jpg", "shard.tar#inner.jpg", id="a plain file's name"),
        pytest.param("/d/shard.tar#a/b.jpg", "d/shard.tar#a/b.jpg", id="with its folder"),
        pytest.param("/d/a.parquet#x.jpg", "a.parquet#x.jpg", id="like a row"),
        pytest.param("file:///d/caf%E9.jpg", "caf\udce9.jpg", id="bytes that are no UTF-8"),
        pytest.param("file:///d%E9/1%20.jpg", "1 .jpg", id="below such a folder"),
        pytest.param("file:///d/caf%E9.jpg", "file:///d/caf%E9.jpg", id="by its uri"),
        pytest.param("/d/e\u0301/a\u0300.jpg", "\u00e9/\u00e0.jpg", id="NFD on disk"),
        pytest.param("/d/\u00e9.jpg", "e\u0301.jpg", id="NFC on disk"),
    ],
)
def test_a_name_joins_in_every_spelling_that_means_the_same(uri: str, file_name: str):
    assert pairs(join([uri], {42: file_name, 43: "other.jpg"})) == {1: 42}


def test_a_plain_name_and_a_members_path_that_both_match_are_ambiguous():
    names = {42: "shard.tar#inner.jpg", 43: "inner.jpg"}
    with pytest.raises(ConfigError, match="1 shares an entry or matches several by file_name"):
        join(["/d/shard.tar#inner.jpg"], names)
    assert pairs(join(["/d/shard.tar#inner.jpg", "/d/inner.jpg"], names)) == {1: 42, 2: 43}


def test_equal_text_comes_before_equal_unicode():
    both = {7: "\u00e9.jpg", 8: "e\u0301.jpg"}
    assert pairs(join(["/d/e\u0301.jpg", "/d/\u00e9.jpg"], both)) == {1: 8, 2: 7}
    with pytest.raises(ConfigError, match="2 share an entry or match several by file_name"):
        join(["/d/e\u0301.jpg", "/d/\u00e9.jpg"], {7: "\u00e9.jpg"})
    mixed = "/d/e\u0301\u00e9.jpg"
    with pytest.raises(ConfigError, match="1 shares an entry or matches several by file_name"):
        join([mixed], {7: "\u00e9\u00e9.jpg", 8: "e\u0301e\u0301.jpg"})


def test_the_input_file_itself_joins_in_the_other_unicode_form():
    joined = join_annotations(
        [7], ["/d/e\u0301.jpg"], annotated({7: "\u00e9.jpg"}), input_annotations=URI
    )
    assert pairs(joined) == {7: 7}


@pytest.mark.parametrize(
    ("file_name", "hint"),
    [
        ("train\\a b.jpg", "it matches when \\ in file_name is replaced by /"),
        ("train/a%20b.jpg", "it matches when %-escapes in file_name are resolved"),
        ("train\\a%20b.jpg", "when \\ in file_name is replaced by / and %-escapes are resolved"),
    ],
)
def test_a_name_in_another_programs_spelling_gets_a_hint(file_name: str, hint: str):
    with pytest.raises(ConfigError) as caught:
        join(["/d/train/a b.jpg"], {42: file_name})
    assert str(caught.value).endswith(hint)
    assert "1 has no entry with its file_name" in str(caught.value)


def test_a_hint_counts_the_names_that_another_spelling_matches():
    with pytest.raises(ConfigError, match=r"; all 2 match when \\ in file_name is replaced by /$"):
        join(["/d/t/a.jpg", "/d/t/b.jpg"], {1: "t\\a.jpg", 2: "t\\b.jpg"})
    with pytest.raises(ConfigError, match=r"; 1 of these 2 match when "):
        join(["/d/t/a.jpg", "/d/t/c.jpg"], {1: "t\\a.jpg", 2: "t\\b.jpg"})
