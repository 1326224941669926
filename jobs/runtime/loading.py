"""Fetches and decodes pictures before they are used: in threads, in order, bounded in bytes.

Two threads let items in strictly in order, one to fetching and one to decoding, each against a
budget of its own; the work itself is done by two pools. Whoever waits for a budget therefore waits
for earlier items only, and those never wait for later ones: so nothing can lock up, however large
an item is. The next shard's items simply follow this one's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from fcos_core.errors import DataError, ImageError
from jobs.media.images import decode_image, image_size
from jobs.tables.rows import ManifestItem

Pixels = npt.NDArray[np.uint8]

UNKNOWN_SIZE_BYTES = 4 * 2**20
"""What an item whose size the manifest does not know is taken for until it is here."""

_CHANNELS = 3
_ENCODED_SHARE = 4  # a quarter of the budget: decoded pictures are some ten times larger


@dataclass(frozen=True, eq=False)
class Loaded:
    """An item that was fetched and decoded, or the reason why it cannot be used.

    Attributes:
        item: which one.
        pixels: height x width x 3, RGB, upright; None when it cannot be used.
        error: None when it can.
    """

    item: ManifestItem
    pixels: Pixels | None
    error: DataError | None = None


class ByteBudget:
    """A number of bytes that may be in memory; an item larger than all of it passes alone.

    Args:
        limit_bytes: how many.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self.used_bytes = 0
        self.peak_bytes = 0

    def acquire(self, size_bytes: int) -> None:
        """Wait until there is room."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self.used_bytes or self.used_bytes + size_bytes <= self._limit_bytes
            )
            self._add(size_bytes)

    def settle(self, *, assumed_bytes: int, actual_bytes: int) -> None:
        """Correct what was acquired, once it is known."""
        with self._changed:
            self._add(actual_bytes - assumed_bytes)
            self._changed.notify_all()

    def release(self, size_bytes: int) -> None:
        """Give bytes back."""
        self.settle(assumed_bytes=size_bytes, actual_bytes=0)

    def _add(self, size_bytes: int) -> None:
        self.used_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)


@dataclass(frozen=True)
class _Decoded:
    """An item on its way to the consumer, and what it holds of the budget of decoded bytes."""

    result: Future[Loaded]
    size_bytes: int


class Loading:
    """The items of one ``Loader.load`` call, in order, each once; to be used up or closed."""

    def __init__(self, items: Sequence[ManifestItem], budget: ByteBudget) -> None:
        self.items = items
        self.is_closed = False
        self._budget = budget
        self._decoded: SimpleQueue[_Decoded] = SimpleQueue()
        self.num_left = len(items)

    def __iter__(self) -> Iterator[Loaded]:
        """Wait for item after item; a ``StorageError`` says which cannot be fetched now.

        Yields:
            The next one.
        """
        while self.num_left:
            yield self._take().result()

    def close(self) -> None:
        """Throw away what was not used; without it, a later loading would wait for this one."""
        self.is_closed = True
        while self.num_left:
            self._take()

    def deliver(self, result: Future[Loaded], size_bytes: int) -> None:
        """Put the next item in; for the loader only."""
        self._decoded.put(_Decoded(result, size_bytes))

    def _take(self) -> Future[Loaded]:
        decoded = self._decoded.get()
        self.num_left -= 1
        wait([decoded.result])
        # From here on the pixels are the consumer's, who bounds what it holds itself.
        self._budget.release(decoded.size_bytes)
        return decoded.result


@dataclass(frozen=True)
class _Encoded:
    """An item's bytes, and what their header says they will take once decoded."""

    data: bytes
    decoded_bytes: int


@dataclass(frozen=True)
class _Fetched:
    """An item on its way to being decoded, and what it holds of the budget of encoded bytes."""

    item: ManifestItem
    loading: Loading
    assumed_bytes: int
    result: Future[_Encoded]


class Loader:
    """Loads one sequence of items after another; see the module's first lines.

    Args:
        fetch: gets an item's bytes. A ``DataError`` becomes part of the result, any other
            error is raised where the item is used.
        bytes_in_flight: encoded and decoded bytes that may wait to be used.
        max_pixels: the largest picture that is decoded.
        fetch_threads: items fetched at once.
        decode_threads: items decoded at once.
    """

    def __init__(
        self,
        fetch: Callable[[ManifestItem], bytes],
        *,
        bytes_in_flight: int,
        max_pixels: int,
        fetch_threads: int,
        decode_threads: int,
    ) -> None:
        self._fetch = fetch
        self._max_pixels = max_pixels
        self.encoded = ByteBudget(bytes_in_flight // _ENCODED_SHARE)
        self.decoded = ByteBudget(bytes_in_flight - bytes_in_flight // _ENCODED_SHARE)
        self._fetchers = ThreadPoolExecutor(fetch_threads, thread_name_prefix="fetch")
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._wanted: SimpleQueue[Loading | None] = SimpleQueue()
        self._fetched: SimpleQueue[_Fetched | None] = SimpleQueue()
        self._unused: list[Loading] = []
        self._feeders = [
            threading.Thread(target=feed, name=feed.__name__, daemon=True)
            for feed in (self._feed_fetchers, self._feed_decoders)
        ]
        for feeder in self._feeders:
            feeder.start()

    def load(self, items: Sequence[ManifestItem]) -> Loading:
        """Begin to load items, behind those of earlier calls, which are to be used up first."""
        loading = Loading(items, self.decoded)
        self._unused = [earlier for earlier in self._unused if earlier.num_left]
        self._unused.append(loading)
        self._wanted.put(loading)
        return loading

    def close(self) -> None:
        """Throw away what was loaded ahead and end the threads."""
        for loading in self._unused:
            loading.is_closed = True
        for loading in self._unused:
            loading.close()
        self._wanted.put(None)
        for feeder in self._feeders:
            feeder.join()
        self._fetchers.shutdown()
        self._decoders.shutdown()

    def _feed_fetchers(self) -> None:
        while (loading := self._wanted.get()) is not None:
            for item in loading.items:
                assumed = UNKNOWN_SIZE_BYTES if item.size_bytes is None else item.size_bytes
                self.encoded.acquire(assumed)
                result = self._fetchers.submit(self._fetch_one, item, loading)
                self._fetched.put(_Fetched(item, loading, assumed, result))
        self._fetched.put(None)

    def _feed_decoders(self) -> None:
        # Nothing but waiting is done here: an error in this thread would never reach the consumer.
        while (fetched := self._fetched.get()) is not None:
            self._let_decode(fetched)
            del fetched  # or its bytes would stay while we wait for the next

    def _let_decode(self, fetched: _Fetched) -> None:
        item, loading, assumed = fetched.item, fetched.loading, fetched.assumed_bytes
        error = fetched.result.exception()  # waits for it
        if error is not None:
            self.encoded.release(assumed)
            refused = Future[Loaded]()
            if isinstance(error, DataError):
                refused.set_result(Loaded(item, None, error))
            else:
                refused.set_exception(error)
            loading.deliver(refused, 0)
            return
        encoded = fetched.result.result()
        self.encoded.settle(assumed_bytes=assumed, actual_bytes=len(encoded.data))
        self.decoded.acquire(encoded.decoded_bytes)
        decoded = self._decoders.submit(self._decode_one, encoded.data, item, loading)
        loading.deliver(decoded, encoded.decoded_bytes)

    def _fetch_one(self, item: ManifestItem, loading: Loading) -> _Encoded:
        if loading.is_closed:
            return _Encoded(b"", 0)
        data = self._fetch(item)
        try:
            height, width = image_size(data, place=item.uri)
        except ImageError:
            return _Encoded(data, 0)  # decoding says the same, where it is recorded
        too_large = height * width > self._max_pixels  # refused before anything is allocated
        return _Encoded(data, 0 if too_large else height * width * _CHANNELS)

    def _decode_one(self, data: bytes, item: ManifestItem, loading: Loading) -> Loaded:
        try:
            if loading.is_closed:
                return Loaded(item, None)
            return Loaded(item, decode_image(data, place=item.uri, max_pixels=self._max_pixels))
        except DataError as error:
            return Loaded(item, None, error)
        finally:
            self.encoded.release(len(data))
