"""Chooses the frames of a video that are taken, once, from its index."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fcos_core.errors import ConfigError

Ticks = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Takes every n-th frame, or some frames per second; by default all.

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

    def __str__(self) -> str:
        """Spell the choice as ``run.json`` does."""
        if self.fps is not None:
            return f"{self.fps} per second"
        return "all" if self.takes_all else f"every {self.every_n_frames}"

    @property
    def takes_all(self) -> bool:
        """Whether no frame is left out."""
        return self.fps is None and self.every_n_frames in {None, 1}

    def choose(self, timestamps: Ticks, time_base: Fraction) -> Places:
        """Choose frames by their rising ticks; return their places, which begin with the first."""
        if self.fps is None:
            return np.arange(0, len(timestamps), self.every_n_frames or 1)
        # Whole numbers, which may be larger than 64 bits: rounding cannot change a choice.
        per_tick = time_base * self.fps
        start = int(timestamps[0])
        slots = [
            (t - start) * per_tick.numerator // per_tick.denominator for t in timestamps.tolist()
        ]
        places = [i for i, slot in enumerate(slots) if not i or slot > slots[i - 1]]
        return np.array(places, np.int64)
