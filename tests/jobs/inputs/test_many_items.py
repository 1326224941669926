"""A listing that memory does not hold has the items of one that it holds, in the same order."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.inputs import files
from jobs.inputs.item import InputItem
from jobs.inputs.item_spool import ItemSpool
from jobs.inputs.sources import _Items, enumerate_inputs
from jobs.storage import local_path

NAMES = ("a", "b", "b/c", "ö", "z", "file:///x/%E9", "file:///x/%FF")
FOUND = st.lists(st.sampled_from([None, *NAMES]), max_size=12)
ITEMS = st.builds(
    InputItem,
    uri=st.text(st.characters(exclude_categories=["Cs"])),
    is_video=st.booleans(),
    size_bytes=st.none() | st.integers(0, 2**63 - 1),
    mtime_ns=st.none() | st.integers(0, 2**63 - 1),
    etag=st.none() | st.text("abc"),
    width=st.none() | st.integers(1, 2**31 - 1),
    height=st.none() | st.integers(1, 2**31 - 1),
    image_id=st.none() | st.integers(-(2**63), 2**63 - 1),
)


def item(uri: str | None, size_bytes: int) -> InputItem | None:
    return None if uri is None else InputItem(uri=uri, size_bytes=size_bytes)


def plainly(
    inputs: list[tuple[list[InputItem | None], bool]], limit: int | None
) -> tuple[list[InputItem], int, int]:
    """The items that are kept, and how many files are skipped and repeated."""
    kept: list[InputItem] = []
    uris: set[str] = set()
    skipped = repeated = 0
    for found, by_uri in inputs:
        taken: list[InputItem] = []
        for one in found:
            if limit is not None and len(kept) + len(taken) == limit:
                break
            if one is None:
                skipped += 1
            elif one.uri in uris:
                repeated += 1
            else:
                uris.add(one.uri)
                taken.append(one)
        if by_uri:
            taken.sort(key=lambda item: os.fsencode(local_path(item.uri)))
        kept += taken
    return kept, skipped, repeated


@given(
    inputs=st.lists(st.tuples(FOUND, st.booleans()), max_size=4),
    limit=st.none() | st.integers(1, 8),
    memory_rows=st.integers(1, 6),
)
def test_inputs_give_what_a_plain_loop_gives(
    inputs: list[tuple[list[str | None], bool]], limit: int | None, memory_rows: int
) -> None:
    described = [
        ([item(uri, place) for place, uri in enumerate(found)], by_uri) for found, by_uri in inputs
    ]
    items = _Items(limit=limit, may_repeat=True, memory_rows=memory_rows)
    for found, by_uri in described:
        if not items.is_full:
            items.take(iter(found), by_uri=by_uri)
    assert (list(items.kept), items.skipped, items.repeated) == plainly(described, limit)


@given(items=st.lists(ITEMS, max_size=9), memory_rows=st.integers(0, 9))
def test_items_survive_their_spool(items: list[InputItem], memory_rows: int) -> None:
    spool = ItemSpool.of(items, memory_rows=memory_rows)
    assert list(spool) == list(spool) == items
    assert len(spool) == len(items)
    assert spool.num_videos == sum(one.is_video for one in items)
    assert spool.is_sized == all(one.is_video or (one.width and one.height) for one in items)


@pytest.mark.parametrize("memory_rows", [1, 3, 100])
def test_a_folder_that_lists_in_another_order_is_sorted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_rows: int
) -> None:
    def backwards(uri: str) -> Iterator[InputItem | None]:
        return reversed([InputItem(uri=f"{uri}/{i}.jpg") for i in range(10)])

    monkeypatch.setattr(files, "enumerate_folder", backwards)
    monkeypatch.setattr("jobs.inputs.sources._BY_URI", (backwards,))
    listing = enumerate_inputs([str(tmp_path)], memory_rows=memory_rows)
    assert [one.uri for one in listing.items] == [f"{tmp_path}/{i}.jpg" for i in range(10)]
    listing.close()
    assert len(listing.items) == 0


def test_a_limit_reads_no_further_than_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find out about a file may take a request."""
    asked: list[int] = []

    def slow(uri: str) -> Iterator[InputItem | None]:
        for number in (1, 1, 2, 3, 4):
            asked.append(number)
            yield InputItem(uri=f"{uri}/{number}.jpg")

    monkeypatch.setattr(files, "enumerate_list", slow)
    listed = tmp_path / "list.txt"
    listed.write_text("")
    listing = enumerate_inputs([str(listed)], limit=3)
    assert (len(listing.items), listing.repeated, asked) == (3, 1, [1, 1, 2, 3])
