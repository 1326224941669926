"""A pool of pixel arrays: the memory of frames that are no longer used serves the next frames.

The system zeroes a new large array page by page: at 4K that is a tenth of the time a frame takes.
A buffer returns to the pool when the last array that views it is gone.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_MAX_SPARE = 4


class PixelPool:
    """Gives out arrays of bytes, and keeps a few returned ones of the last shape."""

    def __init__(self) -> None:
        self._spare: deque[Pixels] = deque(maxlen=_MAX_SPARE)  # threads may share it

    def acquire(self, shape: tuple[int, ...]) -> Pixels:
        """Give an array of a shape; its contents are undefined."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty(shape, np.uint8)
        if memory.shape != shape:
            self._spare.clear()
            memory = np.empty(shape, np.uint8)
        return np.asarray(_PooledBuffer(memory, self._spare))


class _PooledBuffer:
    """The owner of a buffer, which NumPy keeps alive as long as any view of the buffer lives."""

    def __init__(self, memory: Pixels, spare: deque[Pixels]) -> None:
        self._memory = memory
        self._spare = spare

    def __del__(self) -> None:
        self._spare.append(self._memory)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._memory.__array_interface__
