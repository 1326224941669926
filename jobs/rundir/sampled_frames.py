"""The manifest's ``sampling``: the frames of a segment that are taken, as text.

``all``, or the steps between frames and then the steps between ticks, from the segment's first
frame on, equal steps counted: ``15*19,14 7680*19,7168``. So decoding a segment and proving it
complete need neither the whole video nor the sampling rule.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

EVERY_FRAME = "all"


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
    steps: list[int] = []
    for run in text.split(",") if text else []:
        step, _, count = run.partition("*")
        steps.extend([int(step)] * int(count or 1))
    return first + np.concatenate([[0], np.cumsum(np.array(steps, np.int64))]).astype(np.int64)


def _write_steps(values: Int64Array) -> str:
    runs = ((step, len(list(same))) for step, same in groupby(np.diff(values).tolist()))
    return ",".join(str(step) if count == 1 else f"{step}*{count}" for step, count in runs)
