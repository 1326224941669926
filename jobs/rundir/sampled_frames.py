"""The manifest's ``sampling``: the frames of a segment that are taken, as text.

``all``, or the steps between frames and then the steps between ticks, from the segment's first
frame on, equal steps counted: ``15*19,14 7680*19,7168``. So decoding a segment and proving it
complete need neither the whole video nor the sampling rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

EVERY_FRAME = "all"

_STEPS = re.compile(r"(-?[0-9]{1,19})(?:\*([1-9][0-9]{0,9}))?")
_LONGEST_TICKS = 2**62
_SHOWN = 40


def write_sampling(frames: Int64Array, pts: Int64Array) -> str:
    """Write the frames that are taken of a segment: rising indices, and their times in ticks."""
    return f"{_write_steps(frames)} {_write_steps(pts)}"


def read_sampling(text: str, *, first_frame: int, start_pts: int) -> tuple[Int64Array, Int64Array]:
    """Read the frames that ``write_sampling`` wrote.

    Args:
        text: the segment's ``sampling``.
        first_frame: index of the segment's first frame.
        start_pts: presentation time of that frame, in ticks.

    Returns:
        Frame indices and presentation times.

    Raises:
        ValueError: the text has another form.
    """
    frames, pts = text.split(" ")
    places, ticks = read_steps(frames, first_frame), read_steps(pts, start_pts)
    if len(places) != len(ticks):
        raise ValueError(f"{len(places)} frames but {len(ticks)} times in {text!r}")
    return places, ticks


def read_steps(text: str, first: int) -> Int64Array:
    """Read one of the two lists; ``first`` is the value before the first step."""
    steps = [step for step, count in _counted_steps(text) for _ in range(count)]
    return first + np.concatenate([[0], np.cumsum(np.array(steps, np.int64))]).astype(np.int64)


def count_frames(text: str, first_frame: int) -> tuple[int, int]:
    """Count the frames of a segment's ``sampling``, and find the last, without listing any.

    Raises:
        ValueError: the text is none that ``write_sampling`` writes.
    """
    frames, _, pts = text.partition(" ")
    steps, ticks = list(_counted_steps(frames)), list(_counted_steps(pts))
    num_steps, num_ticks = (sum(count for _, count in some) for some in (steps, ticks))
    if num_steps != num_ticks:
        raise ValueError(f"{num_steps + 1} frames but {num_ticks + 1} times")
    if min((step for step, _ in steps), default=1) < 1:
        raise ValueError("its frames do not rise")
    if sum(abs(step) * count for step, count in ticks) > _LONGEST_TICKS:
        raise ValueError("its times are too far apart")
    return num_steps + 1, first_frame + sum(step * count for step, count in steps)


def _counted_steps(text: str) -> Iterator[tuple[int, int]]:
    for run in text.split(",") if text else []:
        found = _STEPS.fullmatch(run)
        if found is None:
            raise ValueError(f"{run[:_SHOWN]!r} is no step")
        yield int(found[1]), int(found[2] or 1)


def _write_steps(values: Int64Array) -> str:
    runs = ((step, len(list(same))) for step, same in groupby(np.diff(values).tolist()))
    return ",".join(str(step) if count == 1 else f"{step}*{count}" for step, count in runs)
