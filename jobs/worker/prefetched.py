"""What is loaded ahead of its use: one image, or the frames of one segment, a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from fcos_core.errors import DataError
from jobs.inputs.video_frames import LoadedFrame
from jobs.media.video import Frame
from jobs.rundir.rows import ManifestItem

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Loaded:
    """An image or frame that was fetched and decoded, or the reason why it cannot be used.

    Attributes:
        item: of the manifest.
        pixels: height x width x 3, RGB, upright; None when it cannot be used.
        error: None when it can.
        number: how many planned rows of the item are before it; 0 for an image.
        frame_index: its place in the stream; None for an image.
        last_frame: of frames that are lost together, the last one's place; else that of the frame.
        timestamp_s: when it is shown; None for an image, and where that is unknown.
    """

    item: ManifestItem
    pixels: Pixels | None
    error: DataError | None = None
    number: int = 0
    frame_index: int | None = None
    last_frame: int | None = None
    timestamp_s: float | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What orders the rows of a shard: the item, and the place in it."""
        return self.item.item_id, self.number

    @classmethod
    def of_frame(cls, item: ManifestItem, loaded: LoadedFrame) -> Loaded:
        """Make it of a frame, or of word of lost ones."""
        event = loaded.event
        is_frame = isinstance(event, Frame)
        return cls(
            item=item,
            pixels=event.pixels if is_frame else None,
            error=loaded.error,
            number=loaded.number,
            frame_index=event.index if is_frame else event.first,
            last_frame=event.index if is_frame else event.last,
            timestamp_s=event.timestamp_s,
        )


class ImageAhead:
    """An image that is being decoded.

    Args:
        result: what becomes of it.
        release: gives back what it holds of a budget.
    """

    def __init__(self, result: Future[Loaded], release: Callable[[], None]) -> None:
        self._result = result
        self._release = release

    def __iter__(self) -> Iterator[Loaded]:
        """Wait for it.

        Yields:
            The image.
        """
        self.close()  # its pixels are the consumer's from here on, who bounds what it holds itself
        yield self._result.result()

    def close(self) -> None:
        """Wait until nothing more is done for it."""
        wait([self._result])
        self._release()


class FramesAhead:
    """The frames of a segment, decoded by a thread of its own, so many of them before their use.

    Args:
        num_ahead: how many may wait to be used.
        release: gives back what they hold of a budget.
    """

    def __init__(self, num_ahead: int, release: Callable[[], None]) -> None:
        self._room = threading.Semaphore(num_ahead)
        self._ready: SimpleQueue[Loaded | BaseException | None] = SimpleQueue()
        self._release = release
        self._is_closed = False
        self._is_over = False

    def fill(self, frames: Iterator[Loaded]) -> None:
        """Decode, as far as there is room; what goes wrong is raised where the frames are used."""
        end: BaseException | None = None
        try:
            for loaded in frames:
                self._room.acquire()
                if self._is_closed:
                    break
                self._ready.put(loaded)
                del loaded  # or its pixels would stay while the next frame is decoded
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the consumer waits for it
            end = error
        self._ready.put(end)

    def __iter__(self) -> Iterator[Loaded]:
        """Wait for frame after frame.

        Yields:
            The next one.
        """
        while (loaded := self._ready.get()) is not None:
            if isinstance(loaded, BaseException):
                self._finish()
                raise loaded
            self._room.release()
            yield loaded
            del loaded
        self._finish()

    def close(self) -> None:
        """Stop the decoding, and throw away what was not used."""
        self._is_closed = True
        while not self._is_over:
            self._room.release()
            loaded = self._ready.get()
            if loaded is None or isinstance(loaded, BaseException):
                self._finish()

    def _finish(self) -> None:
        self._is_over = True
        self._release()
