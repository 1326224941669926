"""Fetches and decodes images before they are used: in threads, in order, bounded in bytes.

Two threads let items in strictly in order, one to fetching and one to decoding, each against a
budget of its own; the work itself is done by two pools. Whoever waits for a budget therefore waits
for earlier items only, and those never wait for later ones: so nothing can lock up, however large
an item is. The next shard's items simply follow this one's.

A video's segment is not fetched but read as it is decoded: it takes room for a few frames, and its
thread waits whenever so many of them are ready. It is let in like an image, behind earlier items.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from fcos_core.errors import DataError, ImageError
from jobs.inputs.video_frames import LoadedFrame, load_frames
from jobs.media.image.decode import decode_image, image_size
from jobs.rundir.rows import ManifestItem
from jobs.worker.prefetched import FramesAhead, ImageAhead, Loaded

UNKNOWN_SIZE_BYTES = 4 * 2**20
"""What an item whose size the manifest does not know is taken for until it is here."""

_CHANNELS = 3
_FRAMES_IN_DECODER = 5  # eight to refer to, of half the bytes of RGB, and one being converted
SEGMENTS_AT_ONCE = 2  # one is used, one is decoded ahead
_LEAST_AHEAD, _MOST_AHEAD = 2, 32
_ENCODED_SHARE = 4  # a quarter of the budget: decoded images are some ten times larger


class ByteBudget:
    """A number of bytes that may be in memory; an item larger than all of it passes alone.

    Args:
        limit_bytes: how many.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self.used_bytes = 0
        self.peak_bytes = 0

    def acquire(self, size_bytes: int) -> None:
        """Wait until there is room."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self.used_bytes or self.used_bytes + size_bytes <= self.limit_bytes
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


class Loading:
    """The items of one ``Loader.load`` call, in order, each once; to be used up or closed."""

    def __init__(self, items: Sequence[ManifestItem]) -> None:
        self.items = items
        self.is_closed = False
        self._ahead: SimpleQueue[ImageAhead | FramesAhead] = SimpleQueue()
        self._current: FramesAhead | None = None
        self._num_left = len(items)

    @property
    def is_used_up(self) -> bool:
        """Whether nothing of it holds anything any more."""
        return not self._num_left and self._current is None

    def __iter__(self) -> Iterator[Loaded]:
        """Wait for one after the other; a ``StorageError`` says which cannot be fetched now.

        Yields:
            The next image or frame.
        """
        while self._num_left:
            ahead = self._take()
            if isinstance(ahead, FramesAhead):
                self._current = ahead
            yield from ahead
            self._current = None

    def close(self) -> None:
        """Throw away what was not used; without it, a later loading would wait for this one."""
        self.is_closed = True
        current, self._current = self._current, None
        if current is not None:
            current.close()
        while self._num_left:
            self._take().close()

    def deliver(self, ahead: ImageAhead | FramesAhead) -> None:
        """Put the next item in; for the loader only."""
        self._ahead.put(ahead)

    def _take(self) -> ImageAhead | FramesAhead:
        self._num_left -= 1
        return self._ahead.get()


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


_NOTHING: Future[_Encoded] = Future()
_NOTHING.set_result(_Encoded(b"", 0))


class Loader:
    """Loads one sequence of items after another; see the module's first lines.

    Args:
        fetch: gets an item's bytes. A ``DataError`` becomes part of the result, any other
            error is raised where the item is used.
        bytes_in_flight: encoded and decoded bytes that may wait to be used.
        max_pixels: the largest image that is decoded.
        fetch_threads: items fetched at once.
        decode_threads: items decoded at once.
        frames: decodes a segment's.
    """

    def __init__(
        self,
        fetch: Callable[[ManifestItem], bytes],
        *,
        bytes_in_flight: int,
        max_pixels: int,
        fetch_threads: int,
        decode_threads: int,
        frames: Callable[[ManifestItem], Iterator[LoadedFrame]] = load_frames,
    ) -> None:
        self._fetch = fetch
        self._load_frames = frames
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
        loading = Loading(items)
        self._unused = [earlier for earlier in self._unused if not earlier.is_used_up]
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
                if item.kind == "video_segment":
                    self._fetched.put(_Fetched(item, loading, 0, _NOTHING))
                    continue
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
        if item.kind == "video_segment":  # read where it lies, as it is decoded
            self._let_decode_frames(item, loading)
            return
        error = fetched.result.exception()  # waits for it
        if error is not None:
            self.encoded.release(assumed)
            refused = Future[Loaded]()
            if isinstance(error, DataError):
                refused.set_result(Loaded(item, None, error))
            else:
                refused.set_exception(error)
            loading.deliver(ImageAhead(refused, lambda: None))
            return
        encoded = fetched.result.result()
        self.encoded.settle(assumed_bytes=assumed, actual_bytes=len(encoded.data))
        self.decoded.acquire(encoded.decoded_bytes)
        decoded = self._decoders.submit(self._decode_one, encoded.data, item, loading)
        release = partial(self.decoded.release, encoded.decoded_bytes)
        loading.deliver(ImageAhead(decoded, release))

    def _let_decode_frames(self, item: ManifestItem, loading: Loading) -> None:
        """Let a segment be decoded: it holds room for some frames until all of them are used."""
        frame_bytes = (item.width or 0) * (item.height or 0) * _CHANNELS
        inside_bytes = _FRAMES_IN_DECODER * frame_bytes
        spare = self.decoded.limit_bytes // SEGMENTS_AT_ONCE - inside_bytes
        num_ahead = max(_LEAST_AHEAD, min(_MOST_AHEAD, spare // max(1, frame_bytes)))
        size_bytes = inside_bytes + num_ahead * frame_bytes
        self.decoded.acquire(size_bytes)
        ahead = FramesAhead(num_ahead, partial(self.decoded.release, size_bytes))
        frames = (Loaded.of_frame(item, loaded) for loaded in self._load_frames(item))
        self._decoders.submit(ahead.fill, iter(()) if loading.is_closed else frames)
        loading.deliver(ahead)

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
