"""Reads S3 objects whole or in part, even when a connection breaks in the middle of a response.

botocore retries a request until its response begins. When the body breaks off later, the rest is
requested here, with the same etag, so that two versions of an object are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from fcos_core.errors import ConfigError, StorageError
from jobs.storage.base import (
    ANY_VERSION,
    UnreadableError,
    Version,
    changed_message,
    check_size,
    check_version,
    one_line,
)
from jobs.storage.retrying import RetryPolicy
from jobs.storage.s3.client import Connection
from jobs.storage.s3.errors import (
    PRECONDITION_FAILED,
    RANGE_NOT_SATISFIABLE,
    BrokenBodyError,
    body_error,
    s3_errors,
    status_of,
)

PART_BYTES = 16 * 2**20
"""Longer reads are split into parts of this length, which are read in parallel."""

_BLOCK_BYTES = 2**18
_PARTIAL_CONTENT = 206

_BODIES = RetryPolicy(attempts=10, first_delay_s=0.1, max_delay_s=5.0, on=BrokenBodyError)


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
        known = self.version.size_bytes
        if known is not None and known > PART_BYTES and (max_bytes is None or known <= max_bytes):
            return self.read_range(0, known)
        return _Download(self, 0, None, max_bytes).run()

    def read_range(self, start: int, length: int) -> bytes:
        """Read a part; fewer bytes where the object ends before."""
        if length <= 0:
            return b""
        if length <= PART_BYTES:
            return _Download(self, start, length).run()
        starts = range(start, start + length, PART_BYTES)
        first = _Download(self, start, PART_BYTES)
        parts = [first.run()]  # the other parts must have the same etag
        same = replace(self, version=first.version)

        def read_part(at: int) -> bytes:
            return _Download(same, at, min(PART_BYTES, start + length - at)).run()

        if len(parts[0]) == PART_BYTES:
            parts.extend(self.connection.parts.map(read_part, starts[1:]))
        return b"".join(parts)


class _Download:
    """The download of one range of an object, and the bytes received so far."""

    def __init__(
        self, source: S3Object, start: int, length: int | None, max_bytes: int | None = None
    ) -> None:
        self._source = source
        self._start = start
        self._length = length
        self._max_bytes = max_bytes
        self._received = bytearray()
        self.version = source.version

    def run(self) -> bytes:
        """Read the range; where the body breaks off, go on from there."""
        return _BODIES.run(self._fetch)

    def _fetch(self) -> bytes:
        response = self._ask()
        if response is None:
            return bytes(self._received)
        body = response["Body"]
        try:
            total = int(response["ContentLength"])
            if not self._received:
                self._check_object(response, total)
                if self._length is None and total > PART_BYTES:
                    return replace(self._source, version=self.version).read_range(0, total)
            for block in body.iter_chunks(_BLOCK_BYTES):
                self._received += block
        except FlexibleChecksumError as error:
            self._received.clear()
            raise body_error(self._source.uri, "the received bytes fail their checksum") from error
        except (BotoCoreError, HTTPError, OSError) as error:
            reason = f"the connection broke after {len(self._received)} bytes: {one_line(error)}"
            raise body_error(self._source.uri, reason) from error
        finally:
            body.close()
        return bytes(self._received)

    def _ask(self) -> dict[str, Any] | None:
        # The response with the bytes that are missing; None when the object ends before them.
        source, at = self._source, self._start + len(self._received)
        end = "" if self._length is None else self._start + self._length - 1
        parameters: dict[str, Any] = dict(source.connection.extra)
        is_part = at > 0 or self._length is not None
        if is_part:
            parameters["Range"] = f"bytes={at}-{end}"
        if self.version.etag is not None:
            parameters["IfMatch"] = f'"{self.version.etag}"'
        try:
            with s3_errors(source.uri, "read"):
                response = source.connection.client.get_object(
                    Bucket=source.bucket, Key=source.key, **parameters
                )
        except StorageError as error:
            cause = error.__cause__
            status = status_of(cause) if isinstance(cause, ClientError) else 0
            if status == RANGE_NOT_SATISFIABLE and is_part:
                return None
            if status == PRECONDITION_FAILED:
                raise UnreadableError(self._changed_message()) from error
            raise
        if is_part and response["ResponseMetadata"]["HTTPStatusCode"] != _PARTIAL_CONTENT:
            response["Body"].close()
            raise ConfigError(f"{source.uri!r} cannot be read: the server does not support ranges")
        return response

    def _check_object(self, response: dict[str, Any], total: int) -> None:
        size = response.get("ContentRange", f"/{total}").rpartition("/")[2]
        found = Version(size_bytes=int(size), etag=response["ETag"].strip('"'))
        check_version(self._source.uri, self.version, found)
        self.version = found
        check_size(self._source.uri, total, self._max_bytes)

    def _changed_message(self) -> str:
        source = self._source
        with s3_errors(source.uri, "read"):
            now = source.connection.client.head_object(
                Bucket=source.bucket, Key=source.key, **source.connection.extra
            )
        found = Version(size_bytes=int(now["ContentLength"]), etag=now["ETag"].strip('"'))
        return changed_message(source.uri, self.version, found)
