"""What an extension finds: new, changed and vanished inputs, whatever memory holds."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.errors import ConfigError
from jobs.inputs.item import InputItem
from jobs.inputs.item_spool import ItemSpool, items_to_batch
from jobs.inputs.sources import Listing
from jobs.planning.changes import Changes, compare
from jobs.rundir.schemas import MANIFEST, SUPERSEDED
from jobs.storage import Version

VERSIONS = st.builds(
    Version,
    size_bytes=st.none() | st.integers(1, 2),
    mtime_ns=st.none() | st.integers(1, 2),
    etag=st.none() | st.sampled_from("ab"),
)
URIS = [f"/{i}é" for i in range(8)]
INPUTS = st.dictionaries(st.sampled_from(URIS), VERSIONS)
COLUMNS = ["item_id", "shard", "kind", "uri", "image_id", *("size_bytes", "etag", "mtime_ns")]


def fields(version: Version) -> dict[str, Any]:
    return {name: getattr(version, name) for name in ("size_bytes", "mtime_ns", "etag")}


def listing_of(
    inputs: dict[str, Version], *, ids: dict[str, int] | None = None, batch_rows: int = 3
) -> Listing:
    items = [
        InputItem(uri=uri, image_id=ids[uri] if ids else None, **fields(version))
        for uri, version in inputs.items()
    ]
    spool = ItemSpool(memory_rows=batch_rows)
    for i in range(0, len(items), batch_rows):
        spool.append(items_to_batch(items[i : i + batch_rows]))
    annotations = "/coco.json" if ids else None
    return Listing(items=spool, skipped=0, repeated=0, annotations=annotations)


def rows_of(
    inputs: dict[str, Version],
    segments: dict[str, int] | None = None,
    ids: dict[str, int] | None = None,
) -> list[dict[str, Any]]:
    """The items of a run; ``segments`` says how many a video has."""
    uris = [uri for uri in inputs for _ in range((segments or {}).get(uri, 1))]
    return [
        {
            "item_id": 10 + i,
            "shard": i // 2,
            "kind": "image",
            "uri": uri,
            "image_id": (ids or {}).get(uri, i),
            **fields(inputs[uri]),
        }
        for i, uri in enumerate(uris)
    ]


def batches(rows: list[dict[str, Any]], size: int = 2) -> list[pa.RecordBatch]:
    schema = pa.schema([MANIFEST.field(name) for name in COLUMNS])
    return [
        pa.RecordBatch.from_pylist(rows[i : i + size], schema=schema)
        for i in range(0, len(rows), size)
    ]


def is_changed(old: Version, new: Version) -> bool:
    if None in {old.etag, new.etag}:
        return old.differs(new)
    sizes = old.size_bytes, new.size_bytes
    return old.etag != new.etag or (None not in sizes and sizes[0] != sizes[1])


def counts(changes: Changes) -> tuple[int, int, int, int]:
    return changes.num_new, changes.num_changed, changes.num_vanished, changes.num_unchanged


@pytest.mark.long
@given(
    before=INPUTS,
    now=INPUTS,
    segments=st.dictionaries(st.sampled_from(URIS), st.integers(1, 5)),
    memory_rows=st.integers(1, 9),
)
def test_changes_are_those_of_a_plain_comparison(
    before: dict[str, Version],
    now: dict[str, Version],
    segments: dict[str, int],
    memory_rows: int,
) -> None:
    rows = rows_of(before, segments)
    new, gone = now.keys() - before.keys(), before.keys() - now.keys()
    both = before.keys() & now.keys()
    changed = {uri for uri in both if is_changed(before[uri], now[uri])}
    changes = compare(listing_of(now), iter(batches(rows)), memory_rows=memory_rows)
    assert counts(changes) == (len(new), len(changed), len(gone), len(both - changed))
    assert [item.uri for item in changes.added] == [uri for uri in now if uri in new | changed]
    assert changes.superseded.schema.equals(SUPERSEDED)
    assert changes.superseded.to_pylist() == [
        {"item_id": row["item_id"], "shard": row["shard"], "is_replaced": row["uri"] in changed}
        for row in rows
        if row["uri"] in changed | gone
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(Version(etag="a", mtime_ns=1), Version(etag="a", mtime_ns=2), 0, id="copied"),
        pytest.param(Version(etag="a"), Version(etag="b"), 1, id="other-mark"),
        pytest.param(
            Version(etag="a", size_bytes=1), Version(etag="a", size_bytes=2), 1, id="size"
        ),
        pytest.param(Version(mtime_ns=1), Version(mtime_ns=2), 1, id="touched"),
        pytest.param(Version(etag="a", mtime_ns=1), Version(mtime_ns=2), 1, id="one-mark"),
        pytest.param(Version(), Version(size_bytes=2, mtime_ns=2, etag="a"), 0, id="unknown"),
    ],
)
def test_an_etag_says_more_than_a_time(old: Version, new: Version, expected: int) -> None:
    changes = compare(listing_of({"/a": new}), iter(batches(rows_of({"/a": old}))))
    assert counts(changes) == (0, expected, 0, 1 - expected)


def test_the_added_inputs_are_those_of_the_listing() -> None:
    listing = listing_of({"/a": Version(size_bytes=1), "/b": Version(size_bytes=2)})
    changes = compare(listing, iter(batches(rows_of({"/a": Version(size_bytes=1)}))))
    listing.close()
    assert list(changes.added) == [InputItem(uri="/b", size_bytes=2)]
    changes.close()
    assert len(changes.added) == 0


@pytest.mark.long
@given(
    before=st.dictionaries(st.sampled_from(URIS), st.integers(1, 6)),
    now=st.dictionaries(st.sampled_from(URIS), st.integers(1, 6), min_size=1),
    memory_rows=st.integers(1, 6),
)
def test_a_coco_file_gives_no_image_the_id_of_another(
    before: dict[str, int], now: dict[str, int], memory_rows: int
) -> None:
    before, now = (
        {uri: one for one, uri in {one: uri for uri, one in ids.items()}.items()}
        for ids in (before, now)
    )
    rows = rows_of(dict.fromkeys(before, Version()), ids=before)
    listing = listing_of(dict.fromkeys(now, Version()), ids=now)
    owners = {one: uri for uri, one in before.items()}
    if all(owners.get(one, uri) == uri for uri, one in now.items()):
        compare(listing, iter(batches(rows)), memory_rows=memory_rows)
        return
    with pytest.raises(ConfigError) as caught:
        compare(listing, iter(batches(rows)), memory_rows=memory_rows)
    assert "\n" not in str(caught.value)


def test_a_taken_id_is_refused_with_both_images() -> None:
    rows = rows_of({"/a.jpg": Version()}, ids={"/a.jpg": 7})
    listing = listing_of({"/b.jpg": Version()}, ids={"/b.jpg": 7})
    message = r"/coco.json: image 7 is '/b.jpg', but '/a.jpg' has this id in the run; give"
    with pytest.raises(ConfigError, match=message):
        compare(listing, iter(batches(rows)))
