"""S3 and what speaks like it: a ``PUT`` that fails when the name is taken creates an object."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# boto3 has no types

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence

from botocore.exceptions import ClientError

from fcos_core.errors import ConfigError, StorageError
from jobs.storage.base import ANY_VERSION, TEMPORARY_PREFIX, ObjectInfo, Version
from jobs.storage.patterns import ANY_DEPTH, fits, is_pattern
from jobs.storage.retrying import RetryPolicy
from jobs.storage.s3.client import connection
from jobs.storage.s3.errors import (
    CONFLICT,
    NOT_FOUND,
    PRECONDITION_FAILED,
    s3_errors,
    status_of,
    translate,
    was_retried,
)
from jobs.storage.s3.listing import S3Listing
from jobs.storage.s3.reading import S3Object

_log = logging.getLogger(__name__)

SCHEME = "s3://"
_PROBE = b"fcos looks whether If-None-Match is heeded here\n"


class ConflictError(StorageError):
    """Two requests to create one object met, and the server decided for neither."""


_CONFLICTS = RetryPolicy(attempts=10, first_delay_s=0.1, max_delay_s=5.0, on=ConflictError)


class S3Storage:
    """Objects in buckets. It holds nothing itself: see ``s3_client`` for the connection."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List what lies under a prefix; see ``Storage.list``.

        Yields:
            Each object, by the bytes of its key as far as the server keeps to that.
        """
        bucket, key = split(prefix)
        is_empty = True
        for info in S3Listing(connection(), bucket, _folder(key)):
            is_empty = False
            yield info
        if is_empty and key and not key.endswith("/"):
            info = self.stat(prefix)
            if info is not None:
                yield info

    def matching(self, pattern: str) -> Iterator[ObjectInfo]:
        """List what a pattern stands for; see ``Storage.matching``.

        Yields:
            Each object, in the order of the listing.
        """
        bucket, key = split(pattern)
        parts = key.split("/")
        plain = next((i for i, part in enumerate(parts) if is_pattern(part)), len(parts))
        start = "".join(f"{part}/" for part in parts[:plain])
        literal = parts[plain] if plain < len(parts) else ""
        literal = literal[: next((i for i, c in enumerate(literal) if c in "*?["), len(literal))]
        for info in S3Listing(connection(), bucket, f"{start}{literal}"):
            names = split(info.uri)[1].split("/")
            if not _is_hidden(names, parts) and fits(names[plain:], tuple(parts[plain:])):
                yield info

    def is_folder(self, uri: str) -> bool:
        """Say whether a key begins with this one and a slash; a bucket is one, however empty."""
        bucket, key = split(uri)
        return S3Listing(connection(), bucket, _folder(key)).begins() or not key

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe an object; None where there is none.

        Raises:
            StorageError: nobody can say; see ``Storage``.
            ClientError: never; it is translated.
        """
        bucket, key = split(uri)
        if not key:
            return None
        here = connection()
        with s3_errors(uri, "read"):
            try:
                answer = here.client.head_object(Bucket=bucket, Key=key, **here.extra)
            except ClientError as error:
                if status_of(error) == NOT_FOUND:
                    return None
                told: ClientError = _with_reason(error, bucket, key)
                raise told from error
        return ObjectInfo(
            uri=uri,
            size_bytes=int(answer["ContentLength"]),
            mtime_ns=None,
            etag=answer["ETag"].strip('"'),
        )

    def read(
        self, uri: str, version: Version = ANY_VERSION, *, max_bytes: int | None = None
    ) -> bytes:
        """Read an object whole."""
        return _object(uri, version).read(max_bytes)

    def read_range(
        self, uri: str, start: int, length: int, version: Version = ANY_VERSION
    ) -> bytes:
        """Read a part of an object; fewer bytes where it ends before."""
        return _object(uri, version).read_range(start, length)

    def create(self, uri: str, data: bytes) -> bool:
        """Create an object unless the name is taken."""
        if connection().access.unsafe_commit:
            if self.stat(uri) is not None:
                return False
            self.write(uri, data)
            return True
        return _CONFLICTS.run(lambda: self._create(uri, data))

    def _create(self, uri: str, data: bytes) -> bool:
        bucket, key = split(uri)
        with s3_errors(uri, "written"):
            try:
                _put(bucket, key, data, IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) == CONFLICT:
                    raise ConflictError(str(translate(error, uri, "written"))) from error
                if status_of(error) != PRECONDITION_FAILED:
                    raise
                # botocore may have repeated a request whose answer was lost: then it is our own.
                return was_retried(error) and self.read(uri) == data
        return True

    def check_create(self, folder: str) -> None:
        """Create an object twice: a server that takes the second one would let commits be lost.

        Raises:
            ConfigError: it does, or nothing can be written there.
            StorageError: it cannot be found out now.
        """
        here = connection()
        if here.access.unsafe_commit:
            _log.warning(
                "%s: commits are not protected (unsafe commit): let no other driver use it", folder
            )
            return
        uri = f"{folder.rstrip('/')}/{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        bucket, key = split(uri)
        try:
            self._create(uri, _PROBE)
            with s3_errors(uri, "written"):
                _put(bucket, key, _PROBE, IfNoneMatch="*")
        except (ConfigError, StorageError) as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and status_of(cause) == PRECONDITION_FAILED:
                return
            raise
        finally:
            self.delete(uri)
        raise ConfigError(
            f"{folder!r}: the server at {here.client.meta.endpoint_url} ignores If-None-Match, so "
            "one worker could replace another's finished file; use another --out, or pass "
            "--allow-unsafe-commit when nothing else writes there"
        )

    def write(self, uri: str, data: bytes) -> None:
        """Put an object in place, instead of any older one."""
        bucket, key = split(uri)
        with s3_errors(uri, "written"):
            _put(bucket, key, data)

    def delete(self, uri: str) -> None:
        """Remove an object if it is there."""
        bucket, key = split(uri)
        with s3_errors(uri, "deleted"):
            connection().client.delete_object(Bucket=bucket, Key=key)


def split(uri: str) -> tuple[str, str]:
    """Part ``s3://bucket/key`` into bucket and key; the key may be empty.

    Raises:
        ConfigError: there is no bucket, or the key is no text that S3 can hold.
    """
    bucket, _, key = uri[len(SCHEME) :].partition("/")
    if not bucket:
        raise ConfigError(f"{uri!r} names no bucket")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{uri!r} is not UTF-8, as keys of S3 are") from error
    return bucket, key


def _is_hidden(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Say whether a name begins with a dot that its pattern does not ask for, as in a shell."""
    depth = patterns.index(ANY_DEPTH) if ANY_DEPTH in patterns else len(names)
    asked = [*patterns[:depth], *([""] * len(names))]
    return any(
        name.startswith(".") and not pattern.startswith(".")
        for name, pattern in zip(names, asked, strict=False)
    )


def _folder(key: str) -> str:
    return key if not key or key.endswith("/") else f"{key}/"


def _object(uri: str, version: Version) -> S3Object:
    bucket, key = split(uri)
    return S3Object(connection(), uri, bucket, key, version)


def _put(bucket: str, key: str, data: bytes, **condition: str) -> None:
    here = connection()
    here.client.put_object(Bucket=bucket, Key=key, Body=data, **here.extra, **condition)


def _with_reason(error: ClientError, bucket: str, key: str) -> ClientError:
    """Ask again: an answer to HEAD has no body that would say why, an answer to GET has."""
    here = connection()
    try:
        answer = here.client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0", **here.extra)
    except ClientError as told:
        return told
    answer["Body"].close()
    return error
