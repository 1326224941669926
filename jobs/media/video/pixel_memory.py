"""Memory of frames that nobody looks at any more, used again for the next ones.

A large array from the system is zeroed page by page: at 4K that is a tenth of the time a frame
takes. What is lent out comes back when the last array that looks at it is gone.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_MOST_SPARE = 4


class PixelMemory:
    """Lends arrays of bytes. It keeps a few that came back, as long as shapes do not change."""

    def __init__(self) -> None:
        self._spare: deque[Pixels] = deque(maxlen=_MOST_SPARE)  # threads may share it

    def lend(self, shape: tuple[int, ...]) -> Pixels:
        """Give an array of that shape, with anything in it."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty(shape, np.uint8)
        if memory.shape != shape:
            self._spare.clear()
            memory = np.empty(shape, np.uint8)
        return np.asarray(_Loan(memory, self._spare))


class _Loan:
    """What NumPy knows as the owner of lent memory, whatever views there are of it."""

    def __init__(self, memory: Pixels, spare: deque[Pixels]) -> None:
        self._memory = memory
        self._spare = spare

    def __del__(self) -> None:
        self._spare.append(self._memory)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._memory.__array_interface__
