"""Reads S3 objects whole or in part, also when connections break in the middle of an answer.

botocore tries a request again until its answer begins. When the body breaks off, the rest is asked
for here, with the same etag, so that no two versions of an object are ever mixed.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# boto3 has no types

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from fcos_core.errors import ConfigError, StorageError
from jobs.storage.base import ANY_VERSION, UnreadableError, Version
from jobs.storage.retrying import RetryPolicy
from jobs.storage.s3.client import Connection
from jobs.storage.s3.errors import PRECONDITION_FAILED, RANGE_NOT_SATISFIABLE, s3_errors, status_of

PART_BYTES = 16 * 2**20
"""Longer reads are split into parts of this length, which are fetched side by side."""

_BLOCK_BYTES = 2**18
_PARTIAL_CONTENT = 206


class CutError(StorageError):
    """The body of an answer broke off."""


_BODIES = RetryPolicy(attempts=10, first_delay_s=0.1, max_delay_s=5.0, on=CutError)


@dataclass(frozen=True)
class S3Object:
    """An object to be read.

    Attributes:
        connection: of this process.
        uri: for messages.
        bucket: its bucket.
        key: its key.
        version: what it must be.
    """

    connection: Connection
    uri: str
    bucket: str
    key: str
    version: Version = ANY_VERSION

    def read(self, max_bytes: int | None) -> bytes:
        """Read it whole, in one request unless it turns out to be large.

        Raises:
            UnreadableError: it is larger than allowed, missing, forbidden or another version.
        """
        known = self.version.size_bytes
        if known is not None and known > PART_BYTES and (max_bytes is None or known <= max_bytes):
            return self.read_range(0, known)
        download = _Download(self, 0, None, max_bytes)
        return download.run()

    def read_range(self, start: int, length: int) -> bytes:
        """Read a part, or what there is of it."""
        if length <= 0:
            return b""
        if length <= PART_BYTES:
            return _Download(self, start, length).run()
        starts = range(start, start + length, PART_BYTES)
        first = _Download(self, start, PART_BYTES)
        parts = [first.run()]  # its etag holds the others to the same version
        same = S3Object(self.connection, self.uri, self.bucket, self.key, first.version)

        def read_part(at: int) -> bytes:
            return _Download(same, at, min(PART_BYTES, start + length - at)).run()

        if len(parts[0]) == PART_BYTES:
            parts.extend(self.connection.parts.map(read_part, starts[1:]))
        return b"".join(parts)


class _Download:
    """One stretch of an object on its way, and how much of it is here."""

    def __init__(
        self, source: S3Object, start: int, length: int | None, max_bytes: int | None = None
    ) -> None:
        self._source = source
        self._start = start
        self._length = length
        self._max_bytes = max_bytes
        self._got = bytearray()
        self.version = source.version

    def run(self) -> bytes:
        """Fetch it; where the body breaks off, go on from there."""
        return _BODIES.run(self._fetch)

    def _fetch(self) -> bytes:
        answer = self._ask()
        if answer is None:
            return bytes(self._got)
        body = answer["Body"]
        try:
            total = int(answer["ContentLength"])
            if not self._got:
                self._look_at(answer, total)
                if self._length is None and total > PART_BYTES:
                    return self._whole_in_parts(total)
            for block in body.iter_chunks(_BLOCK_BYTES):
                self._got += block
        except FlexibleChecksumError as error:
            self._got.clear()
            raise CutError(f"{self._source.uri!r}: the bytes that came are damaged") from error
        except (BotoCoreError, HTTPError, OSError) as error:
            reason = " ".join(str(error).split())
            raise CutError(
                f"{self._source.uri!r}: the connection broke after {len(self._got)} bytes: {reason}"
            ) from error
        finally:
            body.close()
        return bytes(self._got)

    def _ask(self) -> dict[str, Any] | None:
        """Send the request for what is missing; None when the object ends before that.

        Raises:
            UnreadableError: it is another version.
            ConfigError: the server gives the whole instead of a part.
            StorageError: it cannot be read now.
        """
        source, at = self._source, self._start + len(self._got)
        end = "" if self._length is None else self._start + self._length - 1
        parameters: dict[str, Any] = dict(source.connection.extra)
        is_part = at > 0 or self._length is not None
        if is_part:
            parameters["Range"] = f"bytes={at}-{end}"
        if self.version.etag is not None:
            parameters["IfMatch"] = f'"{self.version.etag}"'
        try:
            with s3_errors(source.uri, "read"):
                answer = source.connection.client.get_object(
                    Bucket=source.bucket, Key=source.key, **parameters
                )
        except StorageError as error:
            cause = error.__cause__
            status = status_of(cause) if isinstance(cause, ClientError) else 0
            if status == RANGE_NOT_SATISFIABLE and is_part:
                return None
            if status == PRECONDITION_FAILED:
                raise UnreadableError(self._changed()) from error
            raise
        if is_part and answer["ResponseMetadata"]["HTTPStatusCode"] != _PARTIAL_CONTENT:
            answer["Body"].close()
            raise ConfigError(f"{source.uri!r}: the server cannot give parts of objects")
        return answer

    def _look_at(self, answer: dict[str, Any], total: int) -> None:
        """Learn from the first answer which version this is.

        Raises:
            UnreadableError: not the one that is wanted, or too large.
        """
        size = answer.get("ContentRange", f"/{total}").rpartition("/")[2]
        found = Version(size_bytes=int(size), etag=answer["ETag"].strip('"'))
        if found.differs(self.version):
            raise UnreadableError(
                f"{self._source.uri!r} has changed: it was {self.version}, now it is {found}"
            )
        self.version = found
        if self._max_bytes is not None and total > self._max_bytes:
            raise UnreadableError(
                f"{self._source.uri!r} has {total} bytes, limit {self._max_bytes}"
            )

    def _whole_in_parts(self, total: int) -> bytes:
        source = self._source
        same = S3Object(source.connection, source.uri, source.bucket, source.key, self.version)
        return same.read_range(0, total)

    def _changed(self) -> str:
        source = self._source
        with s3_errors(source.uri, "read"):
            now = source.connection.client.head_object(
                Bucket=source.bucket, Key=source.key, **source.connection.extra
            )
        found = Version(size_bytes=int(now["ContentLength"]), etag=now["ETag"].strip('"'))
        return f"{source.uri!r} has changed: it was {self.version}, now it is {found}"
