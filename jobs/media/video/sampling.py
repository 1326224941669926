"""Which frames of a video are taken, decided once from its index and written into the manifest.

The choice of a segment is written as text: steps of frames, then steps of ticks, equal ones
counted, as in ``15*19,14 7680*19,7168``. So whoever decodes it, or proves it complete, needs
neither the video nor a rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

import numpy as np
import numpy.typing as npt

from fcos_core.errors import ConfigError

Ticks = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Take every so many frames, or so many per second; by default all.

    Attributes:
        every_n_frames: frames 0, n, 2n and so on.
        fps: the first frame that is shown at or after each 1/fps of a second, from the first on.

    Raises:
        ConfigError: both are given, or one is not positive.
    """

    every_n_frames: int | None = None
    fps: Fraction | None = None

    def __post_init__(self) -> None:
        if self.every_n_frames is not None and self.fps is not None:
            raise ConfigError("--every-n-frames and --fps are both given; give one")
        if self.every_n_frames is not None and self.every_n_frames < 1:
            raise ConfigError(f"--every-n-frames {self.every_n_frames} is below 1")
        if self.fps is not None and self.fps <= 0:
            raise ConfigError(f"--fps {float(self.fps):g} is not above 0")

    @property
    def takes_all(self) -> bool:
        """Whether no frame is left out."""
        return self.fps is None and self.every_n_frames in {None, 1}

    def choose(self, timestamps: Ticks, time_base: Fraction) -> Places:
        """Choose frames.

        Args:
            timestamps: ticks of all frames of the video, rising.
            time_base: seconds of a tick.

        Returns:
            Places of the chosen frames, rising; the first frame is always one.
        """
        if self.fps is None:
            return np.arange(0, len(timestamps), self.every_n_frames or 1)
        # In whole numbers, which may be larger than 64 bits: no rounding moves a choice.
        per_tick = time_base * self.fps
        start = int(timestamps[0])
        slots = [
            (t - start) * per_tick.numerator // per_tick.denominator for t in timestamps.tolist()
        ]
        places = [i for i, slot in enumerate(slots) if not i or slot > slots[i - 1]]
        return np.array(places, np.int64)


def write_choice(frames: Places, pts: Ticks) -> str:
    """Write down the frames that a segment takes.

    Args:
        frames: their places, rising.
        pts: their ticks.
    """
    return f"{_write_steps(frames)} {_write_steps(pts)}"


def read_choice(text: str, *, first_frame: int, start_pts: int) -> tuple[Places, Ticks]:
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
    places, ticks = _read_steps(frames, first_frame), _read_steps(pts, start_pts)
    if len(places) != len(ticks):
        raise ValueError(f"{len(places)} frames but {len(ticks)} times in {text!r}")
    return places, ticks


def _write_steps(values: npt.NDArray[np.int64]) -> str:
    runs = ((step, len(list(same))) for step, same in groupby(np.diff(values).tolist()))
    return ",".join(str(step) if count == 1 else f"{step}*{count}" for step, count in runs)


def _read_steps(text: str, first: int) -> npt.NDArray[np.int64]:
    steps: list[int] = []
    for run in text.split(",") if text else []:
        step, _, count = run.partition("*")
        steps.extend([int(step)] * int(count or 1))
    return first + np.concatenate([[0], np.cumsum(np.array(steps, np.int64))]).astype(np.int64)
