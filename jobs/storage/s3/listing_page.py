"""One page of a listing, and what a sequence of pages must keep to: no key twice, none lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jobs.storage.base import ObjectInfo
from jobs.storage.s3.errors import BadReplyError, not_now
from jobs.storage.s3.replies import OK, check_status, etag_of, size_of
from jobs.storage.s3.uri import s3_uri

MAX_EMPTY_PAGES = 100
"""Pages without a key, in a row; S3 may give some, and a broken server endlessly many."""

_DIRECTORY_BUCKET = "--x-s3"  # the end of such a bucket's name; its listings have no order


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Keys and objects (not the empty ones that stand for folders), folders, the next token."""

    keys: list[str]
    objects: list[ObjectInfo]
    folders: list[str]
    next_token: str | None


def read_page(
    answer: dict[str, Any], bucket: str, prefix: str, max_keys: int, *, is_split: bool
) -> ListingPage:
    """Check one page of at most ``max_keys`` names.

    One that ``is_split`` has folders, and only the objects between them. An empty object whose key
    ends in ``/`` stands for a folder: servers give it no etag, or no size.

    Raises:
        BadReplyError: an element is missing, or something does not belong to the prefix.
    """
    uri = s3_uri(bucket, prefix)
    check_status(answer, uri, "listed", OK)
    keys: list[str] = []
    objects: list[ObjectInfo] = []
    for entry in answer.get("Contents", ()):
        key = _name(entry, "Key", uri, prefix)
        if is_split and "/" in key[len(prefix) : -1]:
            raise BadReplyError(
                not_now(uri, "listed", f"the key {key!r} is in a folder below the prefix")
            )
        keys.append(key)
        if key.endswith("/") and not entry.get("Size"):
            continue
        info = ObjectInfo(
            uri=s3_uri(bucket, key),
            size_bytes=size_of(entry, "Size", uri, "listed"),
            mtime_ns=None,
            etag=etag_of(entry, uri, "listed"),
        )
        objects.append(info)
    folders = [_name(entry, "Prefix", uri, prefix) for entry in answer.get("CommonPrefixes", ())]
    if len(set(folders)) < len(folders) or not all(_is_below(one, prefix) for one in folders):
        raise BadReplyError(not_now(uri, "listed", f"the folders are wrong: {folders[:3]!r}"))
    is_cut, token = answer.get("IsTruncated"), answer.get("NextContinuationToken")
    # Some servers leave IsTruncated out at the end; a page of HTML has no bucket's name. Who asks
    # for one key only wants to know whether there is any.
    is_end = "Name" in answer and not token and len(keys) + len(folders) < max(max_keys, 2)
    if is_cut is None and not is_end:
        raise BadReplyError(not_now(uri, "listed", "the reply does not say whether it is complete"))
    if is_cut and not token:
        raise BadReplyError(
            not_now(uri, "listed", "the reply is cut, without a token for the rest")
        )
    if token and not is_cut:  # botocore takes every word but "true" for false
        reason = "the reply is complete, yet has a token for more"
        raise BadReplyError(not_now(uri, "listed", reason))
    return ListingPage(keys, objects, folders, token or None)


class PageSequence:
    """The pages of one listing so far: each must bring new keys, and a new token.

    A listing ascends by the bytes of its keys, as S3 promises, or by the names of its folders, as
    some servers do. So neither a page that comes twice nor one of another place goes unnoticed, and
    no set of all keys is kept.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._uri = s3_uri(bucket, prefix)
        self._orders = set[str]() if bucket.endswith(_DIRECTORY_BUCKET) else {"", "/"}
        self._has_order = bool(self._orders)
        self._last: str | None = None
        self._tokens: set[str] = set()
        self._num_empty = 0

    def take(self, page: ListingPage) -> None:
        """Take the next page; after an error the sequence is as before.

        Raises:
            BadReplyError: a token or a key repeats, keys are out of order, or no more keys come.
        """
        if page.next_token in self._tokens:
            raise self._bad(f"the continuation token {page.next_token!r} repeats")
        num_empty = 0 if page.keys else self._num_empty + 1
        if num_empty > MAX_EMPTY_PAGES:
            raise self._bad(f"{num_empty} pages in a row are empty")
        if self._has_order:
            self._orders = self._check_order(page.keys)
        self._last = page.keys[-1] if page.keys else self._last
        self._num_empty = num_empty
        if page.next_token is not None:
            self._tokens.add(page.next_token)

    def _check_order(self, keys: Iterable[str]) -> set[str]:
        # Code points have the order of the bytes in UTF-8. A NUL sorts a folder's end first.
        orders, last = set(self._orders), self._last
        for key in keys:
            if last is not None:
                if last >= key:
                    orders.discard("")
                if "/" in orders and last.replace("/", "\0") >= key.replace("/", "\0"):
                    orders.discard("/")
                if not orders:
                    raise self._bad(f"the key {key!r} comes after {last!r}")
            last = key
        return orders

    def _bad(self, reason: str) -> BadReplyError:
        return BadReplyError(not_now(self._uri, "listed", reason))


def _name(entry: dict[str, Any], field: str, uri: str, prefix: str) -> str:
    name = entry.get(field)
    if not isinstance(name, str) or not name.startswith(prefix):
        raise BadReplyError(not_now(uri, "listed", f"the reply has the {field} {name!r}"))
    return name


def _is_below(folder: str, prefix: str) -> bool:
    return folder.endswith("/") and len(folder) > len(prefix)
