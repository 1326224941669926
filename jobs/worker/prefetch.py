"""Fetches and decodes images before they are used: in threads, in order, bounded in bytes.

Two threads admit items strictly in order, one to fetching and one to decoding, each against a byte
budget of its own; two thread pools do the work. An item therefore waits only for earlier items,
which never wait for later ones: there is no deadlock, however large an item is. The items of the
next shard follow those of this one.

A video segment is not fetched but read as it is decoded: it takes the bytes of a few frames, and
its thread waits while that many frames are ready. It is admitted like an image, after all earlier
items.
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
from jobs.media.image.decode import decode_noting, image_size
from jobs.rundir.rows import ManifestItem
from jobs.worker.prefetched import (
    LoadedImage,
    PrefetchedFrames,
    PrefetchedImage,
    PrefetchedItems,
)

UNKNOWN_SIZE_BYTES = 4 * 2**20
"""Assumed size of an item whose size the manifest does not know, until the item is fetched."""

SEGMENTS_AT_ONCE = 2
"""Segments that fit the budget together: one is used while the next one is decoded."""

_CHANNELS = 3
_FRAMES_IN_DECODER = 5  # eight reference frames, of half the bytes of RGB, and one in conversion
_MIN_PREFETCHED, _MAX_PREFETCHED = 2, 32  # frames
_ENCODED_DIVISOR = 4  # a quarter of the budget: decoded images are some ten times larger


class ByteBudget:
    """A number of bytes that may be in memory; an item larger than the limit is admitted alone."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self.used_bytes = 0
        self.peak_bytes = 0

    def acquire(self, size_bytes: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: not self.used_bytes or self.used_bytes + size_bytes <= self.limit_bytes
            )
            self._add(size_bytes)

    def settle(self, *, assumed_bytes: int, actual_bytes: int) -> None:
        """Replace an assumed size, which was acquired, by the actual one."""
        with self._changed:
            self._add(actual_bytes - assumed_bytes)
            self._changed.notify_all()

    def release(self, size_bytes: int) -> None:
        self.settle(assumed_bytes=size_bytes, actual_bytes=0)

    def _add(self, size_bytes: int) -> None:
        self.used_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)


@dataclass(frozen=True)
class _Encoded:
    """An item's bytes, and its size once decoded, read from the header."""

    data: bytes
    decoded_bytes: int


@dataclass(frozen=True)
class _Fetched:
    """An item between fetching and decoding; it holds ``assumed_bytes`` of the encoded budget."""

    item: ManifestItem
    prefetched: PrefetchedItems
    assumed_bytes: int
    result: Future[_Encoded]


_NOTHING: Future[_Encoded] = Future()
_NOTHING.set_result(_Encoded(b"", 0))


class Prefetcher:
    """Prefetches one sequence of items after another; the module's docstring says how.

    A ``DataError`` of ``fetch`` becomes part of the result; any other error is raised where the
    item is used. ``bytes_in_flight`` are the encoded and decoded bytes that may wait to be used.
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
        self.encoded = ByteBudget(bytes_in_flight // _ENCODED_DIVISOR)
        self.decoded = ByteBudget(bytes_in_flight - bytes_in_flight // _ENCODED_DIVISOR)
        self._fetchers = ThreadPoolExecutor(fetch_threads, thread_name_prefix="fetch")
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._wanted: SimpleQueue[PrefetchedItems | None] = SimpleQueue()
        self._fetched: SimpleQueue[_Fetched | None] = SimpleQueue()
        self._unused: list[PrefetchedItems] = []
        self._feeders = [
            threading.Thread(target=feed, name=feed.__name__, daemon=True)
            for feed in (self._feed_fetchers, self._feed_decoders)
        ]
        for feeder in self._feeders:
            feeder.start()

    def prefetch(self, items: Sequence[ManifestItem]) -> PrefetchedItems:
        """Begin to prefetch items, after those of earlier calls, which must be used up first."""
        prefetched = PrefetchedItems(items)
        self._unused = [earlier for earlier in self._unused if not earlier.is_used_up]
        self._unused.append(prefetched)
        self._wanted.put(prefetched)
        return prefetched

    def close(self) -> None:
        for prefetched in self._unused:
            prefetched.is_closed = True
        for prefetched in self._unused:
            prefetched.close()
        self._wanted.put(None)
        for feeder in self._feeders:
            feeder.join()
        self._fetchers.shutdown()
        self._decoders.shutdown()

    def _feed_fetchers(self) -> None:
        while (prefetched := self._wanted.get()) is not None:
            for item in prefetched.items:
                if item.kind == "video_segment":
                    self._fetched.put(_Fetched(item, prefetched, 0, _NOTHING))
                    continue
                assumed = UNKNOWN_SIZE_BYTES if item.size_bytes is None else item.size_bytes
                self.encoded.acquire(assumed)
                result = self._fetchers.submit(self._fetch_one, item, prefetched)
                self._fetched.put(_Fetched(item, prefetched, assumed, result))
        self._fetched.put(None)

    def _feed_decoders(self) -> None:
        # This thread only waits and submits: the consumer would never see an error raised here.
        while (fetched := self._fetched.get()) is not None:
            self._submit_decoding(fetched)
            del fetched  # or its bytes would stay while this thread waits for the next item

    def _submit_decoding(self, fetched: _Fetched) -> None:
        item, prefetched, assumed = fetched.item, fetched.prefetched, fetched.assumed_bytes
        if item.kind == "video_segment":
            self._submit_segment(item, prefetched)
            return
        error = fetched.result.exception()  # waits until the item is fetched
        if error is not None:
            self.encoded.release(assumed)
            failed = Future[LoadedImage]()
            if isinstance(error, DataError):
                failed.set_result(LoadedImage(item, None, error))
            else:
                failed.set_exception(error)
            prefetched.deliver(PrefetchedImage(failed, lambda: None))
            return
        encoded = fetched.result.result()
        self.encoded.settle(assumed_bytes=assumed, actual_bytes=len(encoded.data))
        self.decoded.acquire(encoded.decoded_bytes)
        decoded = self._decoders.submit(self._decode_one, encoded.data, item, prefetched)
        release = partial(self.decoded.release, encoded.decoded_bytes)
        prefetched.deliver(PrefetchedImage(decoded, release))

    def _submit_segment(self, item: ManifestItem, prefetched: PrefetchedItems) -> None:
        """Admit a segment: it holds the bytes of some frames until all its frames are used."""
        frame_bytes = (item.width or 0) * (item.height or 0) * _CHANNELS
        decoder_bytes = _FRAMES_IN_DECODER * frame_bytes
        spare_bytes = self.decoded.limit_bytes // SEGMENTS_AT_ONCE - decoder_bytes
        num_fitting = spare_bytes // max(1, frame_bytes)
        num_prefetched = max(_MIN_PREFETCHED, min(_MAX_PREFETCHED, num_fitting))
        size_bytes = decoder_bytes + num_prefetched * frame_bytes
        self.decoded.acquire(size_bytes)
        segment = PrefetchedFrames(num_prefetched, partial(self.decoded.release, size_bytes))
        frames = (LoadedImage.of_frame(item, loaded) for loaded in self._load_frames(item))
        self._decoders.submit(segment.fill, iter(()) if prefetched.is_closed else frames)
        prefetched.deliver(segment)

    def _fetch_one(self, item: ManifestItem, prefetched: PrefetchedItems) -> _Encoded:
        if prefetched.is_closed:
            return _Encoded(b"", 0)
        data = self._fetch(item)
        try:
            height, width = image_size(data, place=item.uri)
        except ImageError:
            return _Encoded(data, 0)  # decoding raises the same error, and it is recorded there
        too_large = height * width > self._max_pixels  # refused before anything is allocated
        return _Encoded(data, 0 if too_large else height * width * _CHANNELS)

    def _decode_one(
        self, data: bytes, item: ManifestItem, prefetched: PrefetchedItems
    ) -> LoadedImage:
        try:
            if prefetched.is_closed:
                return LoadedImage(item, None)
            pixels, note = decode_noting(data, place=item.uri, max_pixels=self._max_pixels)
            return LoadedImage(item, pixels, note=note)
        except DataError as error:
            return LoadedImage(item, None, error)
        finally:
            self.encoded.release(len(data))
