"""Lists the objects under a prefix page by page, several folders at once, in bounded memory.

A listing that fits on one page costs one request. A longer one is split at the folders below the
prefix, where there are some: the folders are listed in parallel, each a bounded number of pages
ahead of the caller, who takes them in order.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from jobs.storage.base import ObjectInfo
from jobs.storage.s3.client import Connection
from jobs.storage.s3.errors import s3_errors
from jobs.storage.s3.listing_page import ListingPage, PageSequence, read_page
from jobs.storage.s3.replies import retry_request
from jobs.storage.s3.uri import s3_uri

PAGE_KEYS = 1000  # the most keys that S3 gives at once
LISTERS = 8
_PREFETCHED_PAGES = 16  # per folder; a page of 1,000 keys takes about 0.3 MB
_ENOUGH_PARTS = 2 * LISTERS
_MAX_SPLITS = 16  # requests spent on finding folders
_POLL_S = 0.2

Page = list[ObjectInfo]


@dataclass(frozen=True)
class S3Listing:
    """The objects of a bucket whose keys begin with a prefix; an empty one takes all objects."""

    connection: Connection
    bucket: str
    prefix: str

    def __iter__(self) -> Iterator[ObjectInfo]:
        """List the objects, ordered by the bytes of their keys if the server orders them so.

        Yields:
            Each object but the empty ones that stand for folders in consoles.
        """
        pages = self._pages(self.prefix)
        first = next(pages)
        parts = self._split() if first.next_token is not None else [first.objects]
        if len(parts) > 1:
            for objects in self._list_in_parallel(parts):
                yield from objects
        else:
            for page in itertools.chain([first], pages):
                yield from page.objects

    def has_objects(self) -> bool:
        """Say whether the listing has an object."""
        return any(page.keys for page in self._pages(self.prefix, MaxKeys=1))

    def _split(self) -> Sequence[str | Page]:
        """Cut the listing into folders and the objects between them."""
        parts: list[str | Page] = [self.prefix]
        is_leaf: set[str] = set()
        for _ in range(_MAX_SPLITS):
            wide = [part for part in parts if isinstance(part, str) and part not in is_leaf]
            if not wide or len(parts) >= _ENOUGH_PARTS:
                break
            here = self._ask(wide[0], Delimiter="/")
            if here.next_token is not None or not here.folders:
                is_leaf.add(wide[0])  # flat, or too many folders for a request each
                continue
            at = parts.index(wide[0])
            parts[at : at + 1] = _merge(here, self._uri(""))
        return parts

    def _list_in_parallel(self, parts: Sequence[str | Page]) -> Iterator[Page]:
        stop = threading.Event()
        with ThreadPoolExecutor(LISTERS, thread_name_prefix="s3-list") as listers:
            sources = [
                part if isinstance(part, list) else _PagePrefetch(self, part, stop)
                for part in parts
            ]
            futures: list[Future[None]] = [
                listers.submit(part.fill) for part in sources if isinstance(part, _PagePrefetch)
            ]
            try:
                for part in sources:
                    yield from [part] if isinstance(part, list) else part
            finally:
                stop.set()
                for future in futures:
                    future.cancel()

    def pages(self, prefix: str) -> Iterator[Page]:
        """List one folder, page after page.

        Yields:
            The folder's objects, a page at a time.
        """
        for page in self._pages(prefix):
            yield page.objects

    def _pages(self, prefix: str, **more: str | int) -> Iterator[ListingPage]:
        sequence = PageSequence(self.bucket, prefix)
        page = self._ask(prefix, sequence, **more)
        yield page
        while page.next_token is not None:
            page = self._ask(prefix, sequence, ContinuationToken=page.next_token, **more)
            yield page

    def _ask(
        self, prefix: str, sequence: PageSequence | None = None, **more: str | int
    ) -> ListingPage:
        max_keys = int(more.pop("MaxKeys", PAGE_KEYS))
        parameters = {"Prefix": prefix, "MaxKeys": max_keys, **more, **self.connection.extra}

        def ask() -> ListingPage:
            with s3_errors(self._uri(prefix), "listed"):
                answer = self.connection.client.list_objects_v2(Bucket=self.bucket, **parameters)
            page = read_page(answer, self.bucket, prefix, max_keys, is_split="Delimiter" in more)
            if sequence is not None:
                sequence.take(page)
            return page

        return retry_request(ask)

    def _uri(self, key: str) -> str:
        return s3_uri(self.bucket, key)


class _PagePrefetch:
    """The pages of one folder, listed by another thread before the caller needs them."""

    def __init__(self, listing: S3Listing, prefix: str, stop: threading.Event) -> None:
        self._listing = listing
        self._prefix = prefix
        self._stop = stop
        self._pages: queue.Queue[Page | Exception | None] = queue.Queue(_PREFETCHED_PAGES)

    def fill(self) -> None:
        """List the folder, a bounded number of pages ahead, until its end or a stop."""
        try:
            for page in self._listing.pages(self._prefix):
                if not self._put(page):
                    return
            self._put(None)
        except Exception as error:  # noqa: BLE001 -- the caller gets it, instead of waiting for ever
            self._put(error)

    def __iter__(self) -> Iterator[Page]:
        while (page := self._pages.get()) is not None:
            if isinstance(page, Exception):
                raise page
            yield page

    def _put(self, page: Page | Exception | None) -> bool:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._pages.put(page, timeout=_POLL_S)
                return True
        return False


def _merge(here: ListingPage, start: str) -> list[str | Page]:
    """Order folders and the objects between them by the bytes of their keys."""
    named: list[tuple[bytes, str | ObjectInfo]] = [
        *((f"{start}{folder}".encode(), folder) for folder in here.folders),
        *((info.uri.encode(), info) for info in here.objects),
    ]
    named.sort(key=lambda entry: entry[0])
    parts: list[str | Page] = []
    for is_folder, group in itertools.groupby(named, key=lambda entry: isinstance(entry[1], str)):
        if is_folder:
            parts.extend(str(folder) for _, folder in group)
        else:
            parts.append([info for _, info in group if isinstance(info, ObjectInfo)])
    return parts
