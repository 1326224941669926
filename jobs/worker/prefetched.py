"""What is decoded before it is used: an image, a segment's frames, or all items of a shard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
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
class LoadedImage:
    """A decoded image or frame, or the reason why it cannot be used.

    Attributes:
        item: the manifest's item.
        pixels: height x width x 3, RGB, upright; None when the image cannot be used.
        error: why the image cannot be used; None when it can.
        number: number of planned rows of the item before this one; 0 for a still image.
        frame_index: index in the stream; None for a still image.
        last_frame: index of the last of several frames that are lost together; otherwise
            ``frame_index``.
        timestamp_s: presentation time; None for a still image, and where it is unknown.
        note: damage that no pixel depends on; None where there is none.
    """

    item: ManifestItem
    pixels: Pixels | None
    error: DataError | None = None
    number: int = 0
    frame_index: int | None = None
    last_frame: int | None = None
    timestamp_s: float | None = None
    note: str | None = None

    @property
    def key(self) -> tuple[int, int]:
        """The row's place in the shard: the item, and the row's number in the item."""
        return self.item.item_id, self.number

    @classmethod
    def of_frame(cls, item: ManifestItem, loaded: LoadedFrame) -> LoadedImage:
        """Make one from a decoded frame, or from frames that are lost together."""
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


class PrefetchedImage:
    """A still image that a thread decodes; ``release`` gives its bytes back to the budget."""

    def __init__(self, result: Future[LoadedImage], release: Callable[[], None]) -> None:
        self._result = result
        self._release = release

    def __iter__(self) -> Iterator[LoadedImage]:
        self.close()  # from here on the consumer bounds the bytes that it holds
        yield self._result.result()

    def close(self) -> None:
        """Wait until the thread is done with the image, and give its bytes back."""
        wait([self._result])
        self._release()


class PrefetchedFrames:
    """The frames of a segment, at most ``num_prefetched`` of them decoded before they are used.

    ``release`` gives their bytes back to the budget.
    """

    def __init__(self, num_prefetched: int, release: Callable[[], None]) -> None:
        self._free_places = threading.Semaphore(num_prefetched)
        self._ready: SimpleQueue[LoadedImage | BaseException | None] = SimpleQueue()
        self._release = release
        self._is_closed = False
        self._is_over = False

    def fill(self, frames: Iterator[LoadedImage]) -> None:
        """Decode frames while there are free places; an error is raised where they are used."""
        end: BaseException | None = None
        try:
            for loaded in frames:
                self._free_places.acquire()
                if self._is_closed:
                    break
                self._ready.put(loaded)
                del loaded  # or its pixels would stay while the next frame is decoded
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the consumer waits for it
            end = error
        self._ready.put(end)

    def __iter__(self) -> Iterator[LoadedImage]:
        while (loaded := self._ready.get()) is not None:
            if isinstance(loaded, BaseException):
                self._finish()
                raise loaded
            self._free_places.release()
            yield loaded
            del loaded
        self._finish()

    def close(self) -> None:
        """Stop decoding, and drop the frames that were not used."""
        self._is_closed = True
        while not self._is_over:
            self._free_places.release()
            loaded = self._ready.get()
            if loaded is None or isinstance(loaded, BaseException):
                self._finish()

    def _finish(self) -> None:
        self._is_over = True
        self._release()


class PrefetchedItems:
    """The items of one ``Prefetcher.prefetch`` call, in order; to be used up or closed.

    A ``StorageError`` of the iteration names an item that cannot be read now.
    """

    def __init__(self, items: Sequence[ManifestItem]) -> None:
        self.items = items
        self.is_closed = False
        self._ready: SimpleQueue[PrefetchedImage | PrefetchedFrames] = SimpleQueue()
        self._current: PrefetchedFrames | None = None
        self._num_left = len(items)

    @property
    def is_used_up(self) -> bool:
        """Whether no item holds memory any more."""
        return not self._num_left and self._current is None

    def __iter__(self) -> Iterator[LoadedImage]:
        while self._num_left:
            prefetched = self._take()
            if isinstance(prefetched, PrefetchedFrames):
                self._current = prefetched
            yield from prefetched
            self._current = None

    def close(self) -> None:
        """Drop what was not used, since the items of later calls wait for its memory."""
        self.is_closed = True
        current, self._current = self._current, None
        if current is not None:
            current.close()
        while self._num_left:
            self._take().close()

    def deliver(self, prefetched: PrefetchedImage | PrefetchedFrames) -> None:
        """Append the next item; only the ``Prefetcher`` does this."""
        self._ready.put(prefetched)

    def _take(self) -> PrefetchedImage | PrefetchedFrames:
        self._num_left -= 1
        return self._ready.get()
