"""Lists the objects under a prefix page by page, several folders at once, in bounded memory.

A listing that fits on one page costs one request. A longer one is split at the folders below the
prefix, where there are some: their listings run side by side, each a bounded number of pages ahead
of whoever takes them in order.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# boto3 has no types

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from fcos_core.errors import FcosError
from jobs.storage.base import ObjectInfo
from jobs.storage.s3.client import Connection
from jobs.storage.s3.errors import s3_errors

PAGE_KEYS = 1000  # the most that S3 gives
LISTERS = 8
_PAGES_AHEAD = 16  # of 1,000 keys each, some 0.3 MB; for each lister
_ENOUGH_PARTS = 2 * LISTERS
_MAX_SPLITS = 16  # requests spent on finding folders
_POLL_S = 0.2

Page = list[ObjectInfo]


class _Answer(NamedTuple):
    """One page: objects, folders (when asked for them) and where the next one begins."""

    objects: Page
    folders: list[str]
    next_token: str | None


@dataclass(frozen=True)
class S3Listing:
    """The objects of a bucket whose keys begin with some text.

    Attributes:
        connection: of this process.
        bucket: which.
        prefix: what the keys begin with; empty for all.
    """

    connection: Connection
    bucket: str
    prefix: str

    def __iter__(self) -> Iterator[ObjectInfo]:
        """List them, ordered by the bytes of their keys as far as the server keeps to that.

        Yields:
            Each but the empty ones that stand for folders in consoles.
        """
        first = self._ask(self.prefix)
        if first.next_token is None:
            yield from first.objects
            return
        parts = self._split()
        pages = self._side_by_side(parts) if len(parts) > 1 else self._after(self.prefix, first)
        for page in pages:
            yield from page

    def begins(self) -> bool:
        """Say whether there is any."""
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
                is_leaf.add(wide[0])  # flat, or too many folders to be worth a request each
                continue
            at = parts.index(wide[0])
            parts[at : at + 1] = _merge(here, self._uri(""))
        return parts

    def _side_by_side(self, parts: Sequence[str | Page]) -> Iterator[Page]:
        with (
            _stopped_at_the_end() as stop,
            ThreadPoolExecutor(LISTERS, thread_name_prefix="s3-list") as listers,
        ):
            coming = [
                part if isinstance(part, list) else _Ahead(self, part, stop) for part in parts
            ]
            futures: list[Future[None]] = [
                listers.submit(part.fill) for part in coming if isinstance(part, _Ahead)
            ]
            try:
                for part in coming:
                    yield from [part] if isinstance(part, list) else part
            finally:
                stop.set()
                for future in futures:
                    future.cancel()

    def pages(self, prefix: str) -> Iterator[Page]:
        """List one folder, page after page.

        Yields:
            Its objects.
        """
        yield from self._after(prefix, self._ask(prefix))

    def _after(self, prefix: str, answer: _Answer) -> Iterator[Page]:
        yield answer.objects
        while answer.next_token is not None:
            answer = self._ask(prefix, ContinuationToken=answer.next_token)
            yield answer.objects

    def _ask(self, prefix: str, **more: str) -> _Answer:
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
        return _Answer(objects, folders, answer["NextContinuationToken"] if is_cut else None)

    def _request(self, **parameters: str | int) -> dict[str, Any]:
        with s3_errors(self._uri(str(parameters["Prefix"])), "listed"):
            return self.connection.client.list_objects_v2(
                Bucket=self.bucket, **parameters, **self.connection.extra
            )

    def _uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"


class _Ahead:
    """The pages of one folder, listed by another thread before they are wanted."""

    def __init__(self, listing: S3Listing, prefix: str, stop: threading.Event) -> None:
        self._listing = listing
        self._prefix = prefix
        self._stop = stop
        self._pages: queue.Queue[Page | FcosError | None] = queue.Queue(_PAGES_AHEAD)

    def fill(self) -> None:
        """List, as far ahead as there is room, until all is listed or nobody wants more."""
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


@contextlib.contextmanager
def _stopped_at_the_end() -> Generator[threading.Event]:
    stop = threading.Event()
    try:
        yield stop
    finally:
        stop.set()


def _merge(here: _Answer, start: str) -> list[str | Page]:
    """Put folders and the objects between them in the order of their keys."""
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
