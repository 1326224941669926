"""From what the inputs stand for to the manifest: order, shards and image ids."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.runtime.input_item import InputItem
from jobs.runtime.inputs import Listing
from jobs.tables.rows import ManifestItem

LARGEST_AUTO_SHARD = 256
_SMALLEST_SORTED, _SMALLEST_MIXED = 16, 64
_SHARDS_SORTED, _SHARDS_MIXED = 32, 8


def auto_shard_size(listing: Listing) -> int:
    """Choose how many items a shard has, by the items alone and not by who will compute them.

    Small data sets get small shards, so that several actors share the work and a kill loses little.
    But a batch holds one padded shape and its last one in a shard is filled up: of COCO photos in
    no order, at batches of eight, shards of 16, 64 and 256 compute 3.6, 2.2 and 1.35 times as many
    pictures as there are. With known sizes equal shapes lie together, and it is 1.1 from 1000 on.

    Args:
        listing: what the inputs stand for.

    Returns:
        16 to 256 with known sizes, 64 to 256 otherwise.
    """
    if _all_sized(listing.items):
        smallest, num_shards = _SMALLEST_SORTED, _SHARDS_SORTED
    else:
        smallest, num_shards = _SMALLEST_MIXED, _SHARDS_MIXED
    return min(max(-(-len(listing.items) // num_shards), smallest), LARGEST_AUTO_SHARD)


def make_manifest(listing: Listing, shard_size: int) -> list[ManifestItem]:
    """Put the items in order, cut them into shards and number them.

    Args:
        listing: what the inputs stand for.
        shard_size: items per shard; the last may have fewer.

    Returns:
        Items as the manifest lists them. Where all sizes are known, those of equal height and
        width lie together, otherwise in the listing's order. Image ids are the COCO file's if that
        was the only input, otherwise they count from 1.
    """
    assert shard_size > 0
    items = listing.items
    if _all_sized(items):
        items = tuple(sorted(items, key=lambda item: (item.height, item.width)))
    return [
        ManifestItem(
            item_id=item_id,
            shard=item_id // shard_size,
            kind="image",
            uri=item.uri,
            image_id=_image_id(item, item_id, listing),
            width=item.width,
            height=item.height,
            size_bytes=item.size_bytes,
            etag=item.etag,
            mtime_ns=item.mtime_ns,
        )
        for item_id, item in enumerate(items)
    ]


def _all_sized(items: Sequence[InputItem]) -> bool:
    return all(item.width is not None and item.height is not None for item in items)


def _image_id(item: InputItem, item_id: int, listing: Listing) -> int:
    if listing.annotations is None:
        return item_id + 1
    assert item.image_id is not None
    return item.image_id
