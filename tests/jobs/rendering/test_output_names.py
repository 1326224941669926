"""Where drawings go: no two at one place, and none outside of the folder."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rendering.output_names import CONTACT_SHEET, output_names, overwritten

parts = st.sampled_from(
    [
        "a",
        "A",
        "b.jpg",
        "b.JPG",
        "b.png",
        "b",
        "..",
        ".",
        "~",
        "a.tar#c",
        "\n",
        "_",
        "\\",
        "é" * 150,
    ]
)
uris = st.builds(
    lambda scheme, folders: scheme + "/".join(folders),
    st.sampled_from(["/", "s3://bucket/", "/data/t.tar#"]),
    st.lists(parts, min_size=1, max_size=4),
)


def images(*names: str) -> dict[str, str]:
    return output_names(dict.fromkeys(names, ".jpg"))


@given(st.dictionaries(uris, st.sampled_from([".jpg", ".mp4"]), max_size=12))
def test_no_two_names_meet_and_none_leaves_the_folder(suffixes: dict[str, str]):
    names = output_names(suffixes)

    assert names.keys() == suffixes.keys()
    lowered = [name.casefold() for name in names.values()]
    assert len({*lowered, CONTACT_SHEET}) == len(lowered) + 1
    folders = {str(folder) for name in lowered for folder in PurePosixPath(name).parents}
    assert folders.isdisjoint({*lowered, CONTACT_SHEET})
    for uri, name in names.items():
        assert name.endswith(suffixes[uri])
        assert not name.startswith("/")
        for part in name.split("/"):
            assert part not in {"", ".", ".."}
            assert part.isprintable()
            assert len(part.encode()) <= 255


def test_a_name_that_is_not_utf8_does_not_split_the_folder_it_shares_with_others():
    plain, escaped = "/x/Zoë's photos/a.jpg", "file:///x/Zo%C3%AB%27s%20photos/caf%E9.jpg"
    assert images(plain, escaped) == {plain: "a.jpg", escaped: "caf%E9.jpg"}
    in_folder = "file:///x/Zo%C3%AB%27s%20photos/caf%E9%25/b%20c.tar#d/e.jpg"
    assert images(plain, in_folder) == {plain: "a.jpg", in_folder: "caf%E9%25/b c.tar/d/e.jpg"}
    same = "/x/Zoë's photos/caf%E9.jpg"  # really called so
    assert len({name.casefold() for name in images(plain, escaped, same).values()}) == 3


def test_the_folders_of_the_sources_are_kept_below_the_one_they_share():
    assert images("/d/a/x.jpg", "/d/b/x.png", "/d/b/c/y.tif") == {
        "/d/a/x.jpg": "a/x.jpg",
        "/d/b/x.png": "b/x.jpg",
        "/d/b/c/y.tif": "b/c/y.jpg",
    }
    assert images("/d/a/x.jpg") == {"/d/a/x.jpg": "x.jpg"}
    assert images() == {}


def test_names_that_would_meet_get_a_hash_and_the_others_do_not():
    names = images("/d/x.jpg", "/d/x.png", "/d/y.png", "/d/contact-sheet.png")

    assert names["/d/y.png"] == "y.jpg"
    assert sorted(names.values()) == [
        "contact-sheet-afbea9d4.jpg",
        "x-751393dd.jpg",
        "x-a3bf495e.jpg",
        "y.jpg",
    ]


def test_members_of_archives_and_rows_of_tables_get_a_folder():
    assert images("/d/a.tar#m/1.jpg", "/d/b.parquet#17") == {
        "/d/a.tar#m/1.jpg": "a.tar/m/1.jpg",
        "/d/b.parquet#17": "b.parquet/17.jpg",
    }


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_source_that_would_be_replaced_is_found(tmp_path: Path, *, through_a_link: bool):
    source = tmp_path / "in" / "a.jpg"
    source.parent.mkdir()
    source.write_bytes(b"x")
    out = tmp_path / "in"
    if through_a_link:
        out = tmp_path / "link"
        out.symlink_to(tmp_path / "in")

    assert overwritten({"u": "a.jpg"}, str(out), [str(source)]) == str(source)
    assert overwritten({"u": "b.jpg"}, str(out), [str(source)]) is None
    assert overwritten({"u": "a.jpg"}, str(tmp_path / "new"), [str(source)]) is None
    assert overwritten({"u": "a.jpg"}, "s3://b/in", ["s3://b/in/a.jpg"]) == "s3://b/in/a.jpg"
