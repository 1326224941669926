"""Members of archives and rows of tables as uris spell them, in all code that reads such uris."""

import pytest

from jobs.annotations.name_matching import match_suffixes
from jobs.rendering.output_names import output_names
from jobs.storage.member_uri import (
    MemberUri,
    as_path,
    container_kind,
    member_path,
    member_uri,
    split_member,
)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("/d/a.tar", "tar"),
        ("s3://b/a.TAR", "tar"),
        ("/d/a.tar.gz", "tar"),
        ("/d/a.tgz", "tar"),
        ("/d/a.Parquet", "parquet"),
        ("/d/a.gz", None),
        ("/d/a.tar.zst", "tar"),
        ("/d/a.tar.jpg", None),
        ("/d/a.tar\n", None),
        pytest.param("/d/tar", None, id="a name without an extension"),
    ],
)
def test_the_extension_says_what_a_container_is(uri: str, kind: str | None):
    assert container_kind(uri) == kind


@pytest.mark.parametrize("container", ["/d/a.tar", "s3://b/İ#x.TGZ", "/d/a.tar.gz", "/d/a.parquet"])
@pytest.mark.parametrize("member", ["1.jpg", "b/c#2.jpg", "line\nend.jpg", 17])
def test_splitting_undoes_building(container: str, member: str | int):
    kind = container_kind(container)
    assert kind is not None
    expected = [MemberUri(container, kind, str(member))]
    assert list(split_member(member_uri(container, member))) == expected


def test_a_number_sign_may_belong_to_any_of_the_names():
    assert list(split_member("/d/x.tar#y/a.tar#1.jpg")) == [
        MemberUri("/d/x.tar", "tar", "y/a.tar#1.jpg"),
        MemberUri("/d/x.tar#y/a.tar", "tar", "1.jpg"),
    ]
    assert list(split_member("/d/a#1.jpg")) == []


def test_a_member_has_a_path_and_a_row_has_none():
    assert member_path("/d/x.tar#y/a.tar#b/1.jpg") == "b/1.jpg"
    assert member_path("/d/a.tar.gz#b/1.jpg") == "b/1.jpg"
    assert member_path("/d/a.parquet#1") is None
    assert member_path("/d/1.jpg") is None


def test_a_container_becomes_a_folder_of_a_path():
    assert as_path("/d/a.tar#b/1.jpg") == "/d/a.tar/b/1.jpg"
    assert as_path("/d/a.tar.gz#1.jpg") == "/d/a.tar.gz/1.jpg"
    assert as_path("/d/a.PARQUET#1") == "/d/a.PARQUET/1"
    assert as_path("/d/a#1.jpg") == "/d/a#1.jpg"


@pytest.mark.parametrize("extension", ["tar", "tar.gz", "tgz", "TAR.GZ"])
def test_drawings_of_members_go_to_a_folder_named_like_any_archive(extension: str):
    uris = [f"/d/a.{extension}#b/1.jpg", "/d/2.jpg"]
    names = output_names(dict.fromkeys(uris, ".jpg"))
    assert names[uris[0]] == f"a.{extension}/b/1.jpg"


@pytest.mark.parametrize("extension", ["tar", "tar.gz", "tgz", "TAR.GZ"])
def test_annotations_name_members_by_their_paths_in_any_archive(extension: str):
    matches = match_suffixes([f"/d/a.{extension}#./b/1.jpg"], {"b/1.jpg": 1})
    assert (matches.suffixes, matches.unmatched) == (["b/1.jpg"], [])


def test_annotations_cannot_name_a_row_by_its_number_alone():
    uri = "/d/a.parquet#1"
    assert match_suffixes([uri], {"1": 1}).unmatched == [uri]
    assert match_suffixes([uri], {"a.parquet#1": 1}).suffixes == ["a.parquet#1"]
