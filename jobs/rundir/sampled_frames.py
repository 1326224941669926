"""The manifest's ``sampling``: which frames of a segment are looked at, as text.

``all``, or steps of frames and then steps of ticks, from the segment's first frame on, equal ones
counted: ``15*19,14 7680*19,7168``. So whoever decodes a segment, or proves it complete, needs
neither the video nor a rule.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

EVERY_FRAME = "all"


def write_choice(frames: Int64Array, pts: Int64Array) -> str:
    """Write down the frames that a segment takes.

    Args:
        frames: their places, rising.
        pts: their ticks.
    """
    return f"{_write_steps(frames)} {_write_steps(pts)}"


def read_choice(text: str, *, first_frame: int, start_pts: int) -> tuple[Int64Array, Int64Array]:
    """Read what ``write_choice`` wrote.

    Args:
        text: of the segment.
        first_frame: place of its first frame.
        start_pts: ticks of that frame.

    Returns:
        Places and ticks of all of them.

    Raises:
        ValueError: it is not such a text.
    """
    frames, pts = text.split(" ")
    places, ticks = read_steps(frames, first_frame), read_steps(pts, start_pts)
    if len(places) != len(ticks):
        raise ValueError(f"{len(places)} frames but {len(ticks)} times in {text!r}")
    return places, ticks


def read_steps(text: str, first: int) -> Int64Array:
    """Read one of the two lists, given its first value."""
    steps: list[int] = []
    for run in text.split(",") if text else []:
        step, _, count = run.partition("*")
        steps.extend([int(step)] * int(count or 1))
    return first + np.concatenate([[0], np.cumsum(np.array(steps, np.int64))]).astype(np.int64)


def _write_steps(values: Int64Array) -> str:
    runs = ((step, len(list(same))) for step, same in groupby(np.diff(values).tolist()))
    return ",".join(str(step) if count == 1 else f"{step}*{count}" for step, count in runs)
