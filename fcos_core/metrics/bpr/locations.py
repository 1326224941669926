"""Which box each location of FCOS learns; only locations that could learn one are computed.

Letters: ``I`` images, ``G`` boxes, ``V`` levels, ``P`` pairs of a box and a level that may fit it,
``N`` candidates: pairs of a box and a location that could learn it.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int8, Int64

from fcos_core.config import TORCHVISION_LEAST_QUALITY, EncodingConfig
from fcos_core.metrics.bpr.frames import Frames, boxes_in_frame, frames_of
from fcos_core.metrics.bpr.rectangles import (
    Intervals,
    Limits,
    Lines,
    intervals,
    list_cells,
    num_cells,
)
from fcos_core.metrics.bpr.rules import LocationRule
from fcos_core.metrics.bpr.structures import (
    BoxBlock,
    Cause,
    Outcomes,
    Shadows,
    joined,
    parts_of,
)

_FREE = np.iinfo(np.int32).max
_AMBIGUOUS, _CROSS_CLASS = 1, 3


@dataclass(frozen=True)
class _SortedBoxes:
    """Boxes of some images in their inputs, the smallest of each image first.

    ``image_index`` counts from the first of these images.
    """

    boxes: Float[np.ndarray, "G 4"]
    areas: Float[np.ndarray, " G"]
    image_index: Int64[np.ndarray, " G"]
    labels: Int64[np.ndarray, " G"]
    grid: "_Grid"

    def only(self, chosen: Int64[np.ndarray, " _"]) -> "_SortedBoxes":
        return replace(
            self,
            boxes=self.boxes[chosen],
            areas=self.areas[chosen],
            image_index=self.image_index[chosen],
            labels=self.labels[chosen],
        )


@dataclass(frozen=True)
class _Grid:
    """The cells of each image and level; x before y in the last axis."""

    step: Int64[np.ndarray, "I V 2"]
    offset: Int64[np.ndarray, " V"]
    count: Int64[np.ndarray, "I V 2"]
    first_cell: Int64[np.ndarray, "I V"]
    num_cells: int


@dataclass(frozen=True)
class _Pairs:
    """Boxes and levels that may go together, and the rectangles of their candidates."""

    box: Int64[np.ndarray, " P"]
    level: Int64[np.ndarray, " P"]
    columns: Intervals
    rows: Intervals


def measure_locations(block: BoxBlock, rule: LocationRule) -> Outcomes:
    """Find out which boxes at least one location learns, and why the others are lost."""
    board = _Locations()
    num_levels = len(rule.encoding.strides)
    parts = [_measure(part, rule, board) for part in parts_of(block)]
    return joined(parts, num_levels)


def _measure(block: BoxBlock, rule: LocationRule, board: "_Locations") -> Outcomes:
    encoding = rule.encoding
    boxes = boxes_in_frame(block.boxes, block.image_index, block.image_sizes, rule.frame)
    areas = _areas(boxes, encoding)
    # The smallest box of an image comes first; a stable sort keeps the file's order among equals.
    order = np.lexsort((areas, block.image_index))
    grid = _make_grid(frames_of(block.image_sizes, rule.frame), encoding)
    ground = _SortedBoxes(
        boxes[order], areas[order], block.image_index[order], block.labels[order], grid
    )
    pairs = _fit(ground, encoding)
    shape = (len(boxes), len(encoding.strides))
    candidates = _per_level(pairs, num_cells(pairs.columns, pairs.rows), shape)
    taken = board.take(ground, pairs, shape)
    causes = np.zeros(len(boxes), np.int8)
    causes[taken.num_kept.sum(axis=1) == 0] = Cause.SHADOWED
    without = np.flatnonzero(candidates.sum(axis=1) == 0)
    causes[without] = _causes_of_none(ground.only(without), encoding)
    back = np.argsort(order)
    return Outcomes(
        causes=causes[back],
        num_candidates=candidates[back],
        num_kept=taken.num_kept[back],
        num_ambiguous=taken.num_ambiguous,
        num_cross_class=taken.num_cross_class,
        shadows=_in_order(order[taken.losers], order[taken.takers], taken.num_taken),
    )


def _areas(boxes: Float[np.ndarray, "G 4"], encoding: EncodingConfig) -> Float[np.ndarray, " G"]:
    """The value compared to find the smallest box; see ``EncodingConfig.area_rule``."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    match encoding.area_rule:
        case "plain":
            return width * height
        case "inclusive":
            return (width + 1) * (height + 1)
        case "float32":
            return -(np.float32(1e8) - (width * height).astype(np.float32))


def _make_grid(frames: Frames, encoding: EncodingConfig) -> _Grid:
    strides = np.array(encoding.strides)
    padded = frames.padded[:, None, ::-1]
    count = -(-padded // strides[:, None])
    if encoding.location_step == "grid":
        step = padded // count
    else:
        step = np.broadcast_to(strides[:, None], count.shape)
    half = strides // 2 if encoding.location_offset == "half_stride" else np.zeros_like(strides)
    cells = count.prod(axis=2)
    ends = np.cumsum(cells).reshape(cells.shape)
    return _Grid(step, half, count, ends - cells, int(ends[-1, -1]))


def _fit(ground: _SortedBoxes, encoding: EncodingConfig) -> _Pairs:
    """Find the levels that may fit each box, and their candidates."""
    boxes = ground.boxes
    ranges = np.array(encoding.size_ranges, boxes.dtype)
    longest = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    # A location's farthest side is half of the box away, or more, and less than all of it. The
    # margin leaves the exact decision to the intervals.
    margin = longest.dtype.type(1e-3) * longest + 1
    may_fit = (longest + margin)[:, None] >= ranges[:, 0]
    may_fit &= (longest / 2 - margin)[:, None] <= ranges[:, 1]
    if encoding.area_rule == "float32":
        may_fit &= (-ground.areas >= np.float32(TORCHVISION_LEAST_QUALITY))[:, None]
    box, level = np.nonzero(may_fit)
    strides = np.array(encoding.strides, boxes.dtype)
    radius = encoding.center_radius
    limits = Limits(
        low=ranges[level, 0],
        high=ranges[level, 1],
        are_ends_open=encoding.range_ends == "open",
        radius=None if radius is None else boxes.dtype.type(radius) * strides[level],
    )
    image, offset = ground.image_index[box], ground.grid.offset[level]
    columns, rows = (
        intervals(
            boxes[box, axis],
            boxes[box, axis + 2],
            Lines(
                ground.grid.step[image, level, axis], offset, ground.grid.count[image, level, axis]
            ),
            limits,
        )
        for axis in (0, 1)
    )
    return _Pairs(box, level, columns, rows)


@dataclass(frozen=True)
class _Assignment:
    """Which box keeps which samples; ``losers`` and ``takers`` as in ``Shadows``."""

    num_kept: Int64[np.ndarray, "G V"]
    num_ambiguous: Int64[np.ndarray, " V"]
    num_cross_class: Int64[np.ndarray, " V"]
    losers: Int64[np.ndarray, " K"]
    takers: Int64[np.ndarray, " K"]
    num_taken: Int64[np.ndarray, " K"]


class _Locations:
    """All locations of some images, reused between parts: between two uses all of them are free."""

    def __init__(self) -> None:
        self._winners = np.empty(0, np.int32)
        self._flags = np.empty(0, np.uint8)

    def take(self, ground: _SortedBoxes, pairs: _Pairs, shape: tuple[int, int]) -> _Assignment:
        """Assign every candidate location to the smallest of its boxes."""
        grid = ground.grid
        if len(self._winners) < grid.num_cells:
            self._winners = np.full(grid.num_cells, _FREE, np.int32)
            self._flags = np.zeros(grid.num_cells, np.uint8)
        image = ground.image_index[pairs.box]
        cell, pair = list_cells(
            pairs.columns,
            pairs.rows,
            grid.first_cell[image, pairs.level],
            grid.count[image, pairs.level, 0],
        )
        box = pairs.box.astype(np.int32)[pair]
        np.minimum.at(self._winners, cell, box)
        winner = self._winners[cell]
        self._winners[cell] = _FREE
        is_kept = winner == box
        kept_pair = pair[is_kept]
        lost = np.flatnonzero(~is_kept)
        lost_cell, loser, taker = cell[lost], box[lost], winner[lost]
        self._flags[lost_cell] = _AMBIGUOUS
        self._flags[lost_cell[ground.labels[loser] != ground.labels[taker]]] = _CROSS_CLASS
        flags = self._flags[cell[is_kept]]
        self._flags[lost_cell] = 0
        num_kept = _per_level(pairs, np.bincount(kept_pair, minlength=len(pairs.box)), shape)
        in_shadow = num_kept.sum(axis=1)[loser] == 0
        who = loser[in_shadow].astype(np.int64) * len(ground.boxes) + taker[in_shadow]
        who, num_taken = np.unique(who, return_counts=True)
        losers, takers = np.divmod(who, len(ground.boxes))
        return _Assignment(
            num_kept=num_kept,
            num_ambiguous=_by_level(pairs, kept_pair[flags >= _AMBIGUOUS], shape[1]),
            num_cross_class=_by_level(pairs, kept_pair[flags == _CROSS_CLASS], shape[1]),
            losers=losers,
            takers=takers,
            num_taken=num_taken,
        )


def _causes_of_none(ground: _SortedBoxes, encoding: EncodingConfig) -> Int8[np.ndarray, " G"]:
    """Why boxes have no candidate at all."""
    anywhere = replace(encoding, center_radius=None)
    unbounded = tuple((-1.0, np.inf) for _ in encoding.strides)
    of_any_size = replace(anywhere, size_ranges=unbounded, range_ends="closed", area_rule="plain")
    causes = np.full(len(ground.boxes), Cause.OUT_OF_RANGE, np.int8)
    causes[_has_candidates(ground, anywhere)] = Cause.CENTER_EMPTY
    causes[~_has_candidates(ground, of_any_size)] = Cause.NO_LOCATION
    return causes


def _has_candidates(ground: _SortedBoxes, encoding: EncodingConfig) -> Bool[np.ndarray, " G"]:
    pairs = _fit(ground, encoding)
    shape = (len(ground.boxes), len(encoding.strides))
    return _per_level(pairs, num_cells(pairs.columns, pairs.rows), shape).sum(axis=1) > 0


def _per_level(
    pairs: _Pairs, values: Int64[np.ndarray, " P"], shape: tuple[int, int]
) -> Int64[np.ndarray, "G V"]:
    table = np.zeros(shape, np.int64)
    table[pairs.box, pairs.level] = values
    return table


def _by_level(
    pairs: _Pairs, chosen: Int64[np.ndarray, " _"], num_levels: int
) -> Int64[np.ndarray, " V"]:
    return np.bincount(pairs.level[chosen], minlength=num_levels)


def _in_order(
    lost: Int64[np.ndarray, " K"],
    takers: Int64[np.ndarray, " K"],
    num_taken: Int64[np.ndarray, " K"],
) -> Shadows:
    order = np.lexsort((takers, lost))
    return Shadows(lost[order], takers[order], num_taken[order])
