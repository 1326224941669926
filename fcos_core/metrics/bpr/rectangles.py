"""The cells of a level whose locations could learn a box: a rectangle with a rectangular hole.

A location qualifies when it is strictly inside the box, near enough to its centre, no side of the
box is farther than the range's upper end, and one side is at least as far as its lower end. The
first three hold on an interval of columns times an interval of rows; the last fails on another
such product, the hole. The ends of the intervals are found with exactly the comparisons of the
dense encoder, so rounding cannot make the two differ.

Letters: ``P`` pairs of a box and a level, ``R`` rows and ``N`` cells of all their rectangles.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from fcos_core.metrics.counting import count_up

Floats = Float[np.ndarray, " P"]
Indices = Int64[np.ndarray, " P"]


@dataclass(frozen=True)
class Lines:
    """Columns, or rows, of each pair's level: step and first place in pixels, and their number."""

    step: Indices
    offset: Indices
    count: Indices


@dataclass(frozen=True)
class Limits:
    """Limits of the distance from a location to the sides of a box, per pair.

    Args:
        low: the farthest side must be at least this far; more than this where ends are open.
        high: the farthest side must be at most this far; less than this where ends are open.
        are_ends_open: whether the range's ends are outside of it.
        radius: the centre of the box must be nearer than this, along each axis; None: no limit.
    """

    low: Floats
    high: Floats
    are_ends_open: bool
    radius: Floats | None


@dataclass(frozen=True)
class Intervals:
    """Columns or rows from ``start`` up to ``stop``, which is excluded; the hole lies within."""

    start: Indices
    stop: Indices
    hole_start: Indices
    hole_stop: Indices


def intervals(begin: Floats, end: Floats, lines: Lines, limits: Limits) -> Intervals:
    """Find the columns, or rows, on which a box's candidates lie.

    ``begin`` and ``end`` are the left and right, or upper and lower, sides of each pair's box.
    """
    within, beyond = (np.less, np.less_equal) if limits.are_ends_open else (np.less_equal, np.less)
    center = (begin + end) / 2
    dtype = begin.dtype

    def place(index: Indices) -> Floats:
        return (index * lines.step + lines.offset).astype(dtype)

    def has_begun(index: Indices) -> Bool[np.ndarray, " P"]:
        at = place(index)
        begun = (at - begin > 0) & within(end - at, limits.high)
        return begun if limits.radius is None else begun & (center - at < limits.radius)

    def is_over(index: Indices) -> Bool[np.ndarray, " P"]:
        at = place(index)
        over = ~((end - at > 0) & within(at - begin, limits.high))
        return over if limits.radius is None else over | ~(at - center < limits.radius)

    def has_hole_begun(index: Indices) -> Bool[np.ndarray, " P"]:
        return beyond(end - place(index), limits.low)

    def is_hole_over(index: Indices) -> Bool[np.ndarray, " P"]:
        return ~beyond(place(index) - begin, limits.low)

    radius = np.inf if limits.radius is None else limits.radius
    first = np.maximum(begin, np.maximum(end - limits.high, center - radius))
    last = np.minimum(end, np.minimum(begin + limits.high, center + radius))
    start = _first_index(has_begun, first, lines)
    stop = np.maximum(_first_index(is_over, last, lines), start)
    hole_start = np.clip(_first_index(has_hole_begun, end - limits.low, lines), start, stop)
    hole_stop = _first_index(is_hole_over, begin + limits.low, lines)
    return Intervals(start, stop, hole_start, np.clip(hole_stop, hole_start, stop))


def num_cells(columns: Intervals, rows: Intervals) -> Indices:
    """Number of cells of each rectangle without its hole."""
    outer = (columns.stop - columns.start) * (rows.stop - rows.start)
    hole = (columns.hole_stop - columns.hole_start) * (rows.hole_stop - rows.hole_start)
    return outer - hole


def list_cells(
    columns: Intervals, rows: Intervals, first_cell: Indices, row_length: Indices
) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """List every cell of every rectangle without its hole.

    ``first_cell`` is the number of each level's first cell, ``row_length`` the cells in its rows.

    Returns:
        Numbers of the cells, and the pair of each; no cell twice for one pair.
    """
    num_rows = np.where(columns.stop > columns.start, rows.stop - rows.start, 0)
    pair, row = count_up(rows.start, num_rows)
    row_cell = first_cell[pair] + row * row_length[pair]
    left, right = columns.start[pair], columns.stop[pair]
    # A row through the hole is two runs of cells.
    hole_left, hole_right = columns.hole_start[pair], columns.hole_stop[pair]
    is_cut = (
        (row >= rows.hole_start[pair]) & (row < rows.hole_stop[pair]) & (hole_left < hole_right)
    )
    cut = np.flatnonzero(is_cut)
    starts = np.concatenate([row_cell + left, (row_cell + hole_right)[cut]])
    lengths = np.concatenate([np.where(is_cut, hole_left, right) - left, (right - hole_right)[cut]])
    run, cell = count_up(starts, lengths)
    return cell, np.concatenate([pair, pair[cut]])[run]


def _first_index(
    holds: Callable[[Indices], Bool[np.ndarray, " P"]], near: Floats, lines: Lines
) -> Indices:
    """First index at which a condition holds, if it holds at all later ones; ``count`` if nowhere.

    ``near`` is about where it begins to hold, in pixels.
    """
    guess = np.ceil((near - lines.offset) / lines.step)
    index = np.clip(guess, 0, lines.count).astype(np.int64)
    while True:
        is_late = (index > 0) & holds(index - 1)
        is_early = ~is_late & (index < lines.count) & ~holds(index)
        if not (is_late.any() or is_early.any()):
            return index
        index = index - is_late + is_early
