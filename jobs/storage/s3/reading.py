"""Reads S3 objects whole or in part; every reply is held to what was asked.

botocore retries a request until its response begins. When the body breaks off later, the rest is
requested here, with the same etag, so that two versions of an object are never mixed.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import BotoCoreError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from fcos_core.errors import StorageError, one_line
from jobs.storage.base import (
    ANY_VERSION,
    UnreadableError,
    Version,
    changed_message,
    check_size,
    check_version,
)
from jobs.storage.s3 import replies
from jobs.storage.s3.client import Connection
from jobs.storage.s3.errors import (
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    RANGE_NOT_SATISFIABLE,
    BadReplyError,
    error_status,
    not_now,
    s3_errors,
)
from jobs.storage.s3.replies import PARTIAL_CONTENT, check_status, etag_of, size_of, version_of

PART_BYTES = 16 * 2**20
"""Longer reads are split into parts of this length, which are read in parallel."""

_BLOCK_BYTES = 2**18
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class S3Object:
    """An object to be read, in the version that it must have."""

    connection: Connection
    uri: str
    bucket: str
    key: str
    version: Version = ANY_VERSION

    def read(self, max_bytes: int | None) -> bytes:
        """Read the whole object, in one request unless it is large.

        Raises:
            UnreadableError: the object is too large, missing, forbidden or another version.
        """
        known, size = self._with_version()
        check_size(self.uri, size, max_bytes)
        return _read_parts(known, 0, size)

    def read_range(self, start: int, length: int) -> bytes:
        """Read a part; fewer bytes where the object ends before."""
        if length <= 0:
            return b""
        known, size = self._with_version()
        return _read_parts(known, start, min(start + length, size)) if start < size else b""

    def describe(self) -> Version:
        """Ask for size and etag, once: by HEAD, or by GET where the server has no good HEAD.

        Raises:
            StorageError: GET fails, too; its reply has a body, which gives the reason.
        """
        here, place = self.connection, {"Bucket": self.bucket, "Key": self.key}
        try:
            with s3_errors(self.uri, "read"):
                answer = here.client.head_object(**place, **here.extra)
            return version_of(answer, self.uri)
        except (UnreadableError, BadReplyError):
            with s3_errors(self.uri, "read"):
                answer = here.client.get_object(**place, **here.extra)
            with contextlib.closing(answer["Body"]):  # only its headers are needed
                return version_of(answer, self.uri)

    def _with_version(self) -> tuple[S3Object, int]:
        # Without a known version no reply could be held to one.
        version = self.version
        if version.size_bytes is None or version.etag is None:
            version = replies.BAD_REPLY_RETRIES.run(self.describe)
            check_version(self.uri, self.version, version)
        assert version.size_bytes is not None
        return replace(self, version=version), version.size_bytes


def _read_parts(source: S3Object, start: int, end: int) -> bytes:
    def read_part(at: int) -> bytes:
        return _Download(source, at, min(at + PART_BYTES, end)).run()

    if end - start <= PART_BYTES:
        return read_part(start)
    return b"".join(source.connection.parts.map(read_part, range(start, end, PART_BYTES)))


class _Download:
    """The download of the bytes from ``start`` to ``end``, and those received so far."""

    def __init__(self, source: S3Object, start: int, end: int) -> None:
        self._source = source
        self._start = start
        self._end = end
        self._is_whole = start == 0 and end == source.version.size_bytes
        self._received = bytearray()

    def run(self) -> bytes:
        """Read the range; where the body breaks off, go on from there."""
        return replies.BAD_REPLY_RETRIES.run(self._fetch)

    def _fetch(self) -> bytes:
        began_s, at = time.monotonic(), self._start + len(self._received)
        response = self._ask(at)
        body = response["Body"]
        try:
            self._check(response, at)
            for block in body.iter_chunks(_BLOCK_BYTES):
                self._received += block
                if len(self._received) > self._end - self._start:
                    break
        except (FlexibleChecksumError, ValueError) as error:  # ValueError: a checksum no base64
            self._received.clear()
            raise self._bad("the received bytes fail their checksum") from error
        except (BotoCoreError, HTTPError, OSError) as error:
            num_bytes, seconds = len(self._received), time.monotonic() - began_s
            if num_bytes >= self._end - self._start:
                self._received.clear()  # complete, but its end and checksum did not come
            reason = f"the connection broke after {num_bytes} bytes and {seconds:.1f} s"
            raise self._bad(f"{reason}: {one_line(error)}") from error
        finally:
            body.close()
        if len(self._received) != self._end - self._start:
            num_bytes = len(self._received)
            self._received.clear()
            raise self._bad(f"{num_bytes} bytes instead of {self._end - self._start}")
        return bytes(self._received)

    def _ask(self, at: int) -> dict[str, Any]:
        """Request the bytes that are missing.

        Raises:
            StorageError: the server fails; see ``Storage``.
            BadReplyError: the server refuses a request that fits the object.
        """
        try:
            return self._get(at)
        except StorageError as error:
            status = error_status(error)
            if status not in {PRECONDITION_FAILED, RANGE_NOT_SATISFIABLE}:
                raise
            self._refuse_changed()
            raise self._bad(f"HTTP {status}, but the object has not changed") from error

    def _get(self, at: int) -> dict[str, Any]:
        """Send the request, and without its condition where the server has none.

        Raises:
            UnreadableError: the server refuses it.
        """
        source = self._source
        is_part = at > 0 or not self._is_whole
        part = {"Range": f"bytes={at}-{self._end - 1}"} if is_part else {}
        place = {"Bucket": source.bucket, "Key": source.key, **part, **source.connection.extra}
        get_object = source.connection.client.get_object
        try:
            with s3_errors(source.uri, "read"):
                return get_object(**place, IfMatch=f'"{source.version.etag}"')
        except UnreadableError as error:
            if error_status(error) != NOT_IMPLEMENTED:
                raise
        with s3_errors(source.uri, "read"):
            return get_object(**place)  # the reply's own etag is compared in any case

    def _check(self, response: dict[str, Any], at: int) -> None:
        """Hold a reply to the range, the size and the etag that were asked for."""
        uri = self._source.uri
        if at == 0 and self._is_whole:
            found = version_of(response, uri)
            first, last = 0, self._end - 1
        else:
            check_status(response, uri, "read", PARTIAL_CONTENT)
            spelt = str(response.get("ContentRange"))
            match = _CONTENT_RANGE.fullmatch(spelt)
            if match is None:
                raise self._bad(f"the reply has the Content-Range {spelt}")
            first, last, total = (int(number) for number in match.groups())
            found = Version(size_bytes=total, etag=etag_of(response, uri, "read"))
        if found.differs(self._source.version):
            self._refuse_changed()
            raise self._bad(f"a reply of another version: {found}")
        length = size_of(response, "ContentLength", uri, "read")
        if (first, last, length) != (at, self._end - 1, self._end - at):
            asked = f"bytes {at}-{self._end - 1}"
            raise self._bad(f"bytes {first}-{last} and length {length} instead of {asked}")

    def _refuse_changed(self) -> None:
        """Ask whether the object has changed: the reply that seems to say so may be wrong.

        Raises:
            UnreadableError: it has.
        """
        source = self._source
        found = source.describe()
        if found.differs(source.version):
            raise UnreadableError(changed_message(source.uri, source.version, found))

    def _bad(self, reason: str) -> BadReplyError:
        return BadReplyError(not_now(self._source.uri, "read", reason))
