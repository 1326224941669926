"""Inputs and outputs of best possible recall.

Letters: ``I`` images, ``G`` ground-truth boxes of all of them, ``V`` pyramid levels, ``P`` pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64


class Cause(IntEnum):
    """Why no sample learns a box: the first cause that applies, in this order; in ``bpr.json``."""

    RECALLED = 0
    NO_LOCATION = 1
    """No location of any level lies strictly inside the box."""
    OUT_OF_RANGE = 2
    """Locations lie inside the box, but their levels do not answer for a box of this size."""
    CENTER_EMPTY = 3
    """Locations inside the box fit its size, but none is near enough to its centre."""
    SHADOWED = 4
    """The box has candidates, but other boxes get them all: a location goes to its smallest box, an
    anchor to the box that it overlaps most."""
    LOW_IOU = 5
    """No anchor overlaps the box enough."""


@dataclass(frozen=True)
class BoxBlock:
    """Ground truth of some images; a box's image must come before those of the boxes after it.

    Args:
        image_sizes: height and width in pixels, at least 1.
        image_index: index of each box's image, rising.
        boxes: COCO's x, y, width, height in pixels of the image; no crowd regions.
        labels: class index of each box.
    """

    image_sizes: Int64[np.ndarray, "I 2"]
    image_index: Int64[np.ndarray, " G"]
    boxes: Float64[np.ndarray, "G 4"]
    labels: Int64[np.ndarray, " G"]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Shadows:
    """Pairs of a shadowed box and another box that got some of its candidates, and their number.

    ``lost`` and ``takers`` are indices of the two boxes in their block.
    """

    lost: Int64[np.ndarray, " P"]
    takers: Int64[np.ndarray, " P"]
    num_taken: Int64[np.ndarray, " P"]


@dataclass(frozen=True)
class Outcomes:
    """What a rule makes of every box of a block; samples are locations or anchors.

    Args:
        causes: values of ``Cause``.
        num_candidates: samples of each level that could learn the box.
        num_kept: samples of each level that do learn it.
        num_ambiguous: samples of each level with more than one candidate box; all zero for anchors.
        num_cross_class: those whose candidates differ in class; all zero for anchors.
        shadows: of the shadowed boxes.
    """

    causes: Int8[np.ndarray, " G"]
    num_candidates: Int64[np.ndarray, "G V"]
    num_kept: Int64[np.ndarray, "G V"]
    num_ambiguous: Int64[np.ndarray, " V"]
    num_cross_class: Int64[np.ndarray, " V"]
    shadows: Shadows

    @property
    def is_recalled(self) -> Bool[np.ndarray, " G"]:
        """Whether at least one sample learns the box."""
        return self.causes == Cause.RECALLED


# Images per part: few calls of numpy, and arrays that stay in the cache.
_IMAGES_AT_ONCE = 128


def parts_of(block: BoxBlock) -> Iterator[BoxBlock]:
    """Split a block into parts of some images, without parts that have no boxes.

    Yields:
        Blocks whose ``image_index`` counts from their own first image.
    """
    starts = np.arange(0, len(block.image_sizes) + _IMAGES_AT_ONCE, _IMAGES_AT_ONCE)
    bounds = np.searchsorted(block.image_index, starts).tolist()
    for start, first, last in zip(starts.tolist(), bounds, bounds[1:], strict=False):
        if first < last:
            yield BoxBlock(
                block.image_sizes[start : start + _IMAGES_AT_ONCE],
                block.image_index[first:last] - start,
                block.boxes[first:last],
                block.labels[first:last],
            )


def joined(parts: Sequence[Outcomes], num_levels: int) -> Outcomes:
    """Join the outcomes of consecutive parts of a block; there may be none."""
    starts = np.cumsum([0, *(len(part.causes) for part in parts)])
    nothing = np.zeros((0, num_levels), np.int64)

    def shadows(name: str) -> list[Int64[np.ndarray, " _"]]:
        return [np.zeros(0, np.int64), *(getattr(part.shadows, name) for part in parts)]

    def moved(name: str) -> Int64[np.ndarray, " P"]:
        lists = shadows(name)
        return np.concatenate(
            [lists[0], *(own + start for own, start in zip(lists[1:], starts, strict=False))]
        )

    return Outcomes(
        causes=np.concatenate([np.zeros(0, np.int8), *(part.causes for part in parts)]),
        num_candidates=np.concatenate([nothing, *(part.num_candidates for part in parts)]),
        num_kept=np.concatenate([nothing, *(part.num_kept for part in parts)]),
        num_ambiguous=np.sum([nothing.sum(axis=0), *(p.num_ambiguous for p in parts)], axis=0),
        num_cross_class=np.sum([nothing.sum(axis=0), *(p.num_cross_class for p in parts)], axis=0),
        shadows=Shadows(moved("lost"), moved("takers"), np.concatenate(shadows("num_taken"))),
    )
