"""Matches of a block of images, packed for transfer and storage, unpacked category by category.

A detection takes 15 bytes, one that overlaps a box 14 more, so the matches of millions of images
fit into memory; only one category is unpacked at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8, UInt16

from fcos_core.metrics.coco.accumulation import CategoryMatches
from fcos_core.metrics.coco.matching import NOTHING, Matches


@dataclass(frozen=True)
class PackedMatches:
    """The matches of some images; ``W`` and ``X`` are bytes of bits.

    Args:
        bounds: where each category's detections begin and the last one's end.
        scores: as in ``CategoryMatches``, like the fields below.
        image: index of the image in the dataset.
        rank: rank within its image and category.
        is_outside: bits, one per area range.
        hits: detections that overlap a box.
        is_found: bits, by IoU threshold, then area range.
        is_ignored: the same.
        num_boxes: boxes to find, per category and area range.
        shape: number of IoU thresholds and area ranges.
    """

    bounds: Int64[np.ndarray, " K1"]
    scores: Float64[np.ndarray, " D"]
    image: Int32[np.ndarray, " D"]
    rank: UInt16[np.ndarray, " D"]
    is_outside: UInt8[np.ndarray, "D W"]
    hits: Int32[np.ndarray, " H"]
    is_found: UInt8[np.ndarray, "H X"]
    is_ignored: UInt8[np.ndarray, "H X"]
    num_boxes: Int64[np.ndarray, "K A"]
    shape: tuple[int, int]


def pack(matches: Matches) -> PackedMatches:
    """Pack the matches of a block of fewer than 2**31 detections and images."""
    num_hits, num_thresholds, num_ranges = matches.found.shape
    flat = (num_hits, num_thresholds * num_ranges)
    edges = np.arange(len(matches.num_boxes) + 1)
    return PackedMatches(
        bounds=np.searchsorted(matches.category, edges),
        scores=matches.scores,
        image=matches.image.astype(np.int32),
        rank=matches.rank.astype(np.uint16),
        is_outside=np.packbits(matches.is_outside, axis=1),
        hits=matches.hits.astype(np.int32),
        is_found=np.packbits((matches.found != NOTHING).reshape(flat), axis=1),
        is_ignored=np.packbits(matches.is_ignored.reshape(flat), axis=1),
        num_boxes=matches.num_boxes,
        shape=(num_thresholds, num_ranges),
    )


def unpacked(blocks: Sequence[PackedMatches]) -> Iterator[CategoryMatches]:
    """Unpack the matches of blocks with disjoint sets of images, at least one, in any order.

    Yields:
        The matches of each category, by rising image.
    """
    for category in range(len(blocks[0].num_boxes)):
        yield of_category(blocks, category)


def of_category(blocks: Sequence[PackedMatches], category: int) -> CategoryMatches:
    """Join the matches of one category, given by its index; blocks as in :func:`unpacked`."""
    parts = [_slice(block, category) for block in blocks]
    starts = np.cumsum([0, *(len(part.scores) for part in parts[:-1])])
    whole = CategoryMatches(
        scores=np.concatenate([part.scores for part in parts]),
        image=np.concatenate([part.image for part in parts]),
        rank=np.concatenate([part.rank for part in parts]),
        is_outside=np.concatenate([part.is_outside for part in parts]),
        hits=np.concatenate([p.hits + start for p, start in zip(parts, starts, strict=True)]),
        is_found=np.concatenate([part.is_found for part in parts]),
        is_ignored=np.concatenate([part.is_ignored for part in parts]),
        num_boxes=np.sum([part.num_boxes for part in parts], axis=0),
    )
    return _by_image(whole)


def _slice(block: PackedMatches, category: int) -> CategoryMatches:
    first, last = block.bounds[category : category + 2].tolist()
    first_hit, last_hit = np.searchsorted(block.hits, [first, last]).tolist()
    num_ranges = block.shape[1]
    return CategoryMatches(
        scores=block.scores[first:last],
        image=block.image[first:last].astype(np.int64),
        rank=block.rank[first:last].astype(np.int64),
        is_outside=np.unpackbits(block.is_outside[first:last], axis=1, count=num_ranges) > 0,
        hits=block.hits[first_hit:last_hit].astype(np.int64) - first,
        is_found=_bools(block.is_found[first_hit:last_hit], block.shape),
        is_ignored=_bools(block.is_ignored[first_hit:last_hit], block.shape),
        num_boxes=block.num_boxes[category],
    )


def _bools(bits: UInt8[np.ndarray, "H X"], shape: tuple[int, int]) -> Bool[np.ndarray, "H T A"]:
    flat = np.unpackbits(bits, axis=1, count=shape[0] * shape[1]) > 0
    return flat.reshape(len(bits), *shape)


def _by_image(matches: CategoryMatches) -> CategoryMatches:
    """Sort by image: pycocotools' order, which decides between equal scores."""
    if not len(matches.image) or bool((np.diff(matches.image) >= 0).all()):
        return matches
    order = np.argsort(matches.image, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    hits = place[matches.hits]
    hit_order = np.argsort(hits)
    return CategoryMatches(
        scores=matches.scores[order],
        image=matches.image[order],
        rank=matches.rank[order],
        is_outside=matches.is_outside[order],
        hits=hits[hit_order],
        is_found=matches.is_found[hit_order],
        is_ignored=matches.is_ignored[hit_order],
        num_boxes=matches.num_boxes,
    )
