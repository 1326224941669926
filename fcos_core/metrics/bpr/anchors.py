"""Which box each anchor of RetinaNet is matched to; only anchors that can be matched are computed.

Anchors of one shape lie on a grid, so the intersection of one with a box is a product: of a width,
which depends on the column alone, and a height, which depends on the row alone. Both are largest
where the centres are nearest, so all anchors that reach some IoU lie around there.

Source: maskrcnn-benchmark's ``anchor_generator.py``, ``boxlist_ops.py`` (legacy boxes, +1) and
``matcher.py``. Letters: ``G`` boxes, ``A`` anchor shapes of all levels, ``P`` pairs of a box and a
shape, ``N`` pairs of a box and an anchor.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.bpr.frames import boxes_in_frame, frames_of
from fcos_core.metrics.bpr.rectangles import Intervals, list_cells
from fcos_core.metrics.bpr.rules import AnchorRule
from fcos_core.metrics.bpr.structures import (
    BoxBlock,
    Cause,
    Outcomes,
    Shadows,
    joined,
    parts_of,
)
from fcos_core.metrics.counting import count_up, run_starts

# Rounding moves an overlap by far less than this; near ties are compared exactly.
_NEARLY = 1 - 1e-9
_SLACK_CELLS = 1e-6


@dataclass(frozen=True)
class AnchorShapes:
    """The anchors at the first cell of every level: index and stride (px) of the level, and xyxy.

    The last pixel belongs to the anchor.
    """

    level: Int64[np.ndarray, " A"]
    stride: Int64[np.ndarray, " A"]
    corners: Float64[np.ndarray, "A 4"]


def anchor_shapes(rule: AnchorRule) -> AnchorShapes:
    """Make the anchors at the first cell, as maskrcnn-benchmark does."""
    levels: list[int] = []
    corners: list[Float64[np.ndarray, " 4"]] = []
    for level, (stride, size) in enumerate(zip(rule.strides, rule.sizes_px, strict=True)):
        middle = (stride - 1) / 2
        for ratio in rule.ratios:
            width = np.rint(np.sqrt(stride * stride / ratio))
            sides = np.array([width, np.rint(width * ratio)])
            for k in range(rule.scales_per_octave):
                scale = size * 2 ** (k / rule.scales_per_octave) / stride
                half = (sides * scale - 1) / 2
                corners.append(np.concatenate([middle - half, middle + half]))
                levels.append(level)
    level = np.array(levels)
    return AnchorShapes(level, np.array(rule.strides)[level], np.stack(corners))


def measure_anchors(block: BoxBlock, rule: AnchorRule) -> Outcomes:
    """Find out which boxes at least one anchor is matched to, and why the others are lost."""
    shapes = anchor_shapes(rule)
    return joined(
        [_AnchorMatching(part, rule, shapes).outcomes() for part in parts_of(block)],
        len(rule.strides),
    )


@dataclass(frozen=True)
class _Matches:
    box: Int64[np.ndarray, " N"]
    shape: Int64[np.ndarray, " N"]
    column: Int64[np.ndarray, " N"]
    row: Int64[np.ndarray, " N"]
    anchor: Int64[np.ndarray, " N"]
    iou: Float64[np.ndarray, " N"]

    def only(self, chosen: Int64[np.ndarray, " _"]) -> "_Matches":
        return _Matches(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def __add__(self, other: "_Matches") -> "_Matches":
        names = self.__dataclass_fields__
        return _Matches(
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names)
        )


class _AnchorMatching:
    def __init__(self, block: BoxBlock, rule: AnchorRule, shapes: AnchorShapes) -> None:
        self.rule = rule
        self.shapes = shapes
        self.image_index = block.image_index
        self.num_boxes = len(block)
        self.boxes = boxes_in_frame(
            block.boxes, block.image_index, block.image_sizes, rule.frame
        ).astype(np.float64)
        padded = frames_of(block.image_sizes, rule.frame).padded
        # Columns before rows, as x before y.
        self.count = -(-padded[:, None, ::-1] // shapes.stride[:, None])
        anchors = self.count.prod(axis=2)
        self.first_anchor = np.cumsum(anchors).reshape(anchors.shape) - anchors

    def outcomes(self) -> Outcomes:
        """Match every anchor that can be matched; the remaining boxes are lost."""
        columns, rows, best = self._nearest()
        strong = self._reaching(
            columns, rows, best, np.full(self.num_boxes, self.rule.positive_iou)
        )
        strong = strong.only(np.flatnonzero(strong.iou >= self.rule.positive_iou))
        eligible, matched = strong, self._own_best(strong)
        if self.rule.low_quality_iou is not None:
            weak = self._best_of_each_box(columns, rows, best)
            eligible = strong + weak.only(np.flatnonzero(weak.iou < self.rule.positive_iou))
            is_new = np.isin(weak.anchor, matched.anchor, invert=True)
            matched = matched + self._own_best(self._among_all(weak.only(np.flatnonzero(is_new))))
        return self._outcomes(eligible, matched)

    def _nearest(
        self,
    ) -> tuple[Int64[np.ndarray, "G A"], Int64[np.ndarray, "G A"], Float64[np.ndarray, "G A"]]:
        """Column and row of each shape's anchor that overlaps each box most, and its IoU."""
        middles = (self.boxes[:, None, :2] + self.boxes[:, None, 2:]) / 2
        own_middles = (self.shapes.corners[:, :2] + self.shapes.corners[:, 2:]) / 2
        cells = np.rint((middles - own_middles) / self.shapes.stride[:, None])
        cells = np.clip(cells, 0, self.count[self.image_index] - 1).astype(np.int64)
        columns, rows = cells[..., 0], cells[..., 1]
        box = np.arange(self.num_boxes)[:, None]
        shape = np.arange(len(self.shapes.level))[None]
        return columns, rows, self._iou(box, shape, columns, rows)

    def _iou(
        self,
        box: Int64[np.ndarray, "*#N"],
        shape: Int64[np.ndarray, "*#N"],
        column: Int64[np.ndarray, "*#N"],
        row: Int64[np.ndarray, "*#N"],
    ) -> Float64[np.ndarray, "*N"]:
        """IoU of legacy boxes: both ends count, so an extent is the difference plus one."""
        x_min, y_min, x_max, y_max = self.boxes.T[:, box]
        left, top, right, bottom = self.shapes.corners.T[:, shape]
        across, down = column * self.shapes.stride[shape], row * self.shapes.stride[shape]
        left, right, top, bottom = left + across, right + across, top + down, bottom + down
        width = np.maximum(np.minimum(x_max, right) - np.maximum(x_min, left) + 1, 0)
        height = np.maximum(np.minimum(y_max, bottom) - np.maximum(y_min, top) + 1, 0)
        shared = width * height
        area = (x_max - x_min + 1) * (y_max - y_min + 1)
        own_area = (right - left + 1) * (bottom - top + 1)
        return shared / (area + own_area - shared)

    def _reaching(
        self,
        columns: Int64[np.ndarray, "G A"],
        rows: Int64[np.ndarray, "G A"],
        best: Float64[np.ndarray, "G A"],
        wanted: Float64[np.ndarray, " G"],
    ) -> _Matches:
        """All pairs with the wanted IoU, and a few that nearly have it."""
        box, shape = np.nonzero((best >= wanted[:, None] * _NEARLY) & (best > 0))
        corners = self.shapes.corners[shape]
        boxes = self.boxes[box]
        stride = self.shapes.stride[shape]
        extent = boxes[:, 2:] - boxes[:, :2] + 1
        own_extent = corners[:, 2:] - corners[:, :2] + 1
        nearest = np.stack([columns[box, shape], rows[box, shape]], axis=1)
        shift = nearest * stride[:, None]
        most = (
            np.minimum(boxes[:, 2:], corners[:, 2:] + shift)
            - np.maximum(boxes[:, :2], corners[:, :2] + shift)
            + 1
        )
        areas = extent.prod(axis=1) + own_extent.prod(axis=1)
        iou = wanted[box] * _NEARLY
        least_shared = iou * areas / (1 + iou)
        count = self.count[self.image_index[box], shape]

        def lines(axis: int) -> Intervals:
            least = least_shared / most[:, 1 - axis] * _NEARLY
            first = (boxes[:, axis] + least - 1 - corners[:, axis + 2]) / stride - _SLACK_CELLS
            last = (boxes[:, axis + 2] - least + 1 - corners[:, axis]) / stride + _SLACK_CELLS
            start = np.clip(np.ceil(first), 0, count[:, axis]).astype(np.int64)
            stop = np.clip(np.floor(last) + 1, start, count[:, axis]).astype(np.int64)
            return Intervals(start, stop, stop, stop)

        row_length = count[:, 0]
        cell, pair = list_cells(lines(0), lines(1), np.zeros_like(box), row_length)
        row, column = np.divmod(cell, row_length[pair])
        return self._matches(box[pair], shape[pair], column, row)

    def _matches(
        self,
        box: Int64[np.ndarray, " N"],
        shape: Int64[np.ndarray, " N"],
        column: Int64[np.ndarray, " N"],
        row: Int64[np.ndarray, " N"],
    ) -> _Matches:
        image = self.image_index[box]
        anchor = self.first_anchor[image, shape] + row * self.count[image, shape, 0] + column
        return _Matches(box, shape, column, row, anchor, self._iou(box, shape, column, row))

    def _best_of_each_box(
        self,
        columns: Int64[np.ndarray, "G A"],
        rows: Int64[np.ndarray, "G A"],
        best: Float64[np.ndarray, "G A"],
    ) -> _Matches:
        """The anchors that overlap a box most, ties included, if the IoU is enough to keep them."""
        near = self._reaching(columns, rows, best, best.max(axis=1))
        highest = np.zeros(self.num_boxes)
        np.maximum.at(highest, near.box, near.iou)
        is_best = np.equal(near.iou, highest[near.box])
        is_enough = np.greater_equal(near.iou, self.rule.low_quality_iou or 0.0)
        return near.only(np.flatnonzero(np.logical_and(is_best, is_enough)))

    def _among_all(self, matches: _Matches) -> _Matches:
        """Pairs of each anchor with every box of its image."""
        _, first = np.unique(matches.anchor, return_index=True)
        once = matches.only(first)
        image = self.image_index[once.box]
        begin = np.searchsorted(self.image_index, image)
        end = np.searchsorted(self.image_index, image, side="right")
        which, box = count_up(begin, end - begin)
        return self._matches(box, once.shape[which], once.column[which], once.row[which])

    def _own_best(self, matches: _Matches) -> _Matches:
        """The pair of each anchor with the box that it overlaps most, the first of equals."""
        order = np.lexsort((matches.box, -matches.iou, matches.anchor))
        return matches.only(order[run_starts(matches.anchor[order])])

    def _outcomes(self, eligible: _Matches, matched: _Matches) -> Outcomes:
        num_candidates, num_kept = self._per_level(eligible), self._per_level(matched)
        is_recalled = num_kept.sum(axis=1) > 0
        causes = np.where(num_candidates.any(axis=1), Cause.SHADOWED, Cause.LOW_IOU)
        causes[is_recalled] = Cause.RECALLED
        lost = eligible.only(np.flatnonzero(~is_recalled[eligible.box]))
        order = matched.anchor.argsort()
        place = np.searchsorted(matched.anchor[order], lost.anchor)
        takers = matched.box[order[place]]
        pairs, num_taken = np.unique(lost.box * self.num_boxes + takers, return_counts=True)
        no_samples = np.zeros(len(self.rule.strides), np.int64)
        return Outcomes(
            causes=causes.astype(np.int8),
            num_candidates=num_candidates,
            num_kept=num_kept,
            num_ambiguous=no_samples,
            num_cross_class=no_samples,
            shadows=Shadows(*np.divmod(pairs, self.num_boxes), num_taken),
        )

    def _per_level(self, matches: _Matches) -> Int64[np.ndarray, "G V"]:
        num_levels = len(self.rule.strides)
        key = matches.box * num_levels + self.shapes.level[matches.shape]
        counts = np.bincount(key, minlength=self.num_boxes * num_levels)
        return counts.reshape(self.num_boxes, num_levels)
