from dataclasses import replace

from jobs.inputs.item import InputItem
from jobs.inputs.item_spool import ItemSpool
from jobs.inputs.sources import Listing
from jobs.planning.manifest import make_manifest
from jobs.rundir.rows import items_to_table, table_to_items


def listing(sizes: list[tuple[int, int] | None], *, annotations: str | None = None) -> Listing:
    items = [
        InputItem(
            uri=f"/data/{i}.jpg",
            size_bytes=10 * i,
            mtime_ns=i,
            height=size[0] if size else None,
            width=size[1] if size else None,
            image_id=1000 - i if annotations else None,
        )
        for i, size in enumerate(sizes)
    ]
    return Listing(items=ItemSpool.of(items), skipped=0, repeated=0, annotations=annotations)


def uris(*numbers: int) -> list[str]:
    return [f"/data/{i}.jpg" for i in numbers]


def test_equal_sizes_lie_together_in_the_listings_order():
    manifest = make_manifest(listing([(480, 640), (640, 480), (480, 640), (480, 320)]), 2)
    assert [entry.uri for entry in manifest] == uris(3, 0, 2, 1)
    assert [entry.item_id for entry in manifest] == [0, 1, 2, 3]
    assert [entry.shard for entry in manifest] == [0, 0, 1, 1]
    assert [entry.image_id for entry in manifest] == [1, 2, 3, 4]
    assert [(entry.height, entry.width) for entry in manifest[:2]] == [(480, 320), (480, 640)]


def test_one_unknown_size_keeps_the_listings_order():
    manifest = make_manifest(listing([(480, 640), None, (100, 100)]), 2)
    assert [entry.uri for entry in manifest] == uris(0, 1, 2)
    assert [entry.shard for entry in manifest] == [0, 0, 1]


def test_coco_ids_are_kept_when_the_coco_file_is_the_only_input():
    manifest = make_manifest(listing([(9, 9), (5, 5)], annotations="/data/a.json"), 8)
    assert [entry.image_id for entry in manifest] == [999, 1000]


def test_ids_count_from_one_when_it_is_not():
    with_ids = listing([(9, 9), (5, 5)], annotations="/data/a.json")
    manifest = make_manifest(replace(with_ids, annotations=None), 8)
    assert [entry.image_id for entry in manifest] == [1, 2]


def test_manifest_survives_its_table():
    manifest = make_manifest(listing([(480, 640), None]), 1)
    assert table_to_items(items_to_table(manifest)) == manifest
    assert (manifest[1].size_bytes, manifest[1].mtime_ns, manifest[1].kind) == (10, 1, "image")
