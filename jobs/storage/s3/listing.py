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
from typing import Any, NamedTuple

from fcos_core.errors import FcosError
from jobs.storage.base import ObjectInfo
from jobs.storage.s3.client import Connection
from jobs.storage.s3.errors import s3_errors
from jobs.storage.s3.uri import s3_uri

PAGE_KEYS = 1000  # the most keys that S3 gives at once
LISTERS = 8
_PREFETCHED_PAGES = 16  # per folder; a page of 1,000 keys takes about 0.3 MB
_ENOUGH_PARTS = 2 * LISTERS
_MAX_SPLITS = 16  # requests spent on finding folders
_POLL_S = 0.2

Page = list[ObjectInfo]


class _PageReply(NamedTuple):
    """One page: objects, folders (with a delimiter) and the token of the next page."""

    objects: Page
    folders: list[str]
    next_token: str | None


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
        first = self._ask(self.prefix)
        if first.next_token is None:
            yield from first.objects
            return
        parts = self._split()
        is_split = len(parts) > 1
        pages = self._list_in_parallel(parts) if is_split else self._pages_from(self.prefix, first)
        for page in pages:
            yield from page

    def has_objects(self) -> bool:
        """Say whether the listing has an object."""
        answer = self._request(Prefix=self.prefix, MaxKeys=1)
        return bool(answer.get("Contents"))

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
        yield from self._pages_from(prefix, self._ask(prefix))

    def _pages_from(self, prefix: str, answer: _PageReply) -> Iterator[Page]:
        yield answer.objects
        while answer.next_token is not None:
            answer = self._ask(prefix, ContinuationToken=answer.next_token)
            yield answer.objects

    def _ask(self, prefix: str, **more: str) -> _PageReply:
        answer = self._request(Prefix=prefix, MaxKeys=PAGE_KEYS, **more)
        objects = [
            ObjectInfo(
                uri=self._uri(entry["Key"]),
                size_bytes=entry["Size"],
                mtime_ns=None,
                etag=entry["ETag"].strip('"'),
            )
            for entry in answer.get("Contents", ())
            if entry["Size"] or not entry["Key"].endswith("/")
        ]
        folders = [entry["Prefix"] for entry in answer.get("CommonPrefixes", ())]
        is_cut = bool(answer.get("IsTruncated"))
        return _PageReply(objects, folders, answer["NextContinuationToken"] if is_cut else None)

    def _request(self, **parameters: str | int) -> dict[str, Any]:
        with s3_errors(self._uri(str(parameters["Prefix"])), "listed"):
            return self.connection.client.list_objects_v2(
                Bucket=self.bucket, **parameters, **self.connection.extra
            )

    def _uri(self, key: str) -> str:
        return s3_uri(self.bucket, key)


class _PagePrefetch:
    """The pages of one folder, listed by another thread before the caller needs them."""

    def __init__(self, listing: S3Listing, prefix: str, stop: threading.Event) -> None:
        self._listing = listing
        self._prefix = prefix
        self._stop = stop
        self._pages: queue.Queue[Page | FcosError | None] = queue.Queue(_PREFETCHED_PAGES)

    def fill(self) -> None:
        """List the folder, a bounded number of pages ahead, until its end or a stop."""
        try:
            for page in self._listing.pages(self._prefix):
                if not self._put(page):
                    return
            self._put(None)
        except FcosError as error:
            self._put(error)

    def __iter__(self) -> Iterator[Page]:
        while (page := self._pages.get()) is not None:
            if isinstance(page, FcosError):
                raise page
            yield page

    def _put(self, page: Page | FcosError | None) -> bool:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._pages.put(page, timeout=_POLL_S)
                return True
        return False


def _merge(here: _PageReply, start: str) -> list[str | Page]:
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
