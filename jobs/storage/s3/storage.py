"""Objects on S3 and compatible servers, created by a ``PUT`` that fails when the name is taken."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence

from fcos_core.errors import ConfigError, FcosError, StorageError
from jobs.storage.base import (
    ANY_VERSION,
    TEMPORARY_PREFIX,
    MissingError,
    ObjectInfo,
    UnreadableError,
    Version,
)
from jobs.storage.patterns import ANY_DEPTH, is_hidden_name, is_pattern, matches_pattern
from jobs.storage.s3.client import connection
from jobs.storage.s3.errors import (
    PRECONDITION_FAILED,
    BadReplyError,
    ConflictError,
    error_status,
    not_now,
    s3_errors,
    was_retried,
)
from jobs.storage.s3.listing import S3Listing
from jobs.storage.s3.reading import S3Object
from jobs.storage.s3.replies import OK, check_status, confirm_refusal, etag_of, retry_request
from jobs.storage.s3.uri import split_s3_uri

_log = logging.getLogger(__name__)

_PROBE = b"fcos checks whether this server supports If-None-Match\n"


class S3Storage:
    """Objects in buckets; ``jobs.storage.s3.client`` keeps the connection."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List the objects under a prefix; see ``Storage.list``.

        Yields:
            Each object, ordered by the bytes of its key if the server orders them so.
        """
        bucket, key = split_s3_uri(prefix)
        is_empty = True
        for info in S3Listing(connection(), bucket, _folder(key)):
            is_empty = False
            yield info
        if is_empty and key and not key.endswith("/"):
            info = self.stat(prefix)
            if info is not None:
                yield info

    def glob(self, pattern: str) -> Iterator[ObjectInfo]:
        """List the objects that match a pattern; see ``Storage.glob``.

        Yields:
            Each object, in the order of the listing.
        """
        bucket, key = split_s3_uri(pattern)
        parts = key.split("/")
        num_plain = next((i for i, part in enumerate(parts) if is_pattern(part)), len(parts))
        start = "".join(f"{part}/" for part in parts[:num_plain])
        literal = parts[num_plain] if num_plain < len(parts) else ""
        literal = literal[: next((i for i, c in enumerate(literal) if c in "*?["), len(literal))]
        for info in S3Listing(connection(), bucket, f"{start}{literal}"):
            names = split_s3_uri(info.uri)[1].split("/")
            if not _is_hidden(names, parts) and matches_pattern(
                names[num_plain:], tuple(parts[num_plain:])
            ):
                yield info

    def is_folder(self, uri: str) -> bool:
        """Say whether keys begin with this one and a slash; a bucket is always a folder."""
        bucket, key = split_s3_uri(uri)
        return S3Listing(connection(), bucket, _folder(key)).has_objects() or not key

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe an object; None when there is no such object."""
        if not split_s3_uri(uri)[1]:
            return None
        try:
            version = retry_request(_object(uri, ANY_VERSION).describe)
        except MissingError:
            return None
        assert version.size_bytes is not None
        return ObjectInfo(uri=uri, size_bytes=version.size_bytes, mtime_ns=None, etag=version.etag)

    def read(
        self, uri: str, version: Version = ANY_VERSION, *, max_bytes: int | None = None
    ) -> bytes:
        """Read a whole object."""
        return confirm_refusal(lambda: _object(uri, version).read(max_bytes))

    def read_range(
        self, uri: str, start: int, length: int, version: Version = ANY_VERSION
    ) -> bytes:
        """Read a part of an object; fewer bytes where the object ends before."""
        return confirm_refusal(lambda: _object(uri, version).read_range(start, length))

    def create(self, uri: str, data: bytes) -> bool:
        """Create an object, unless the name is taken."""
        if connection().access.unsafe_commit:
            if self.stat(uri) is not None:
                return False
            self.write(uri, data)
            return True
        may_be_ours = False

        def create() -> bool:
            nonlocal may_be_ours
            try:
                return self._create(uri, data, may_be_ours=may_be_ours)
            except ConflictError:
                raise  # nothing was created
            except BadReplyError:
                may_be_ours = True
                raise

        return retry_request(create)

    def _create(self, uri: str, data: bytes, *, may_be_ours: bool) -> bool:
        try:
            self._put(uri, data, IfNoneMatch="*")
        except FcosError as error:
            if error_status(error) != PRECONDITION_FAILED:
                raise
            if self.stat(uri) is None:
                reason = "HTTP 412, but there is no such object"
                raise BadReplyError(not_now(uri, "written", reason)) from error
            # A request whose response was lost may have been repeated: then the object is ours.
            return (may_be_ours or was_retried(error)) and self.read(uri) == data
        return True

    def check_create(self, folder: str) -> None:
        """Create an object twice: a server that allows this could lose finished files.

        Raises:
            ConfigError: the server allows it, or the folder cannot be written to.
        """
        here = connection()
        if here.access.unsafe_commit:
            reason = "finished files may be replaced; run only one driver there"
            _log.warning("%s: --allow-unsafe-commit: %s", folder, reason)
            return
        uri = f"{folder.rstrip('/')}/{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        try:
            self.create(uri, _PROBE)
            # One reply is not believed; other bytes than the first are never taken for ours.
            if not all(self.create(uri, _PROBE + more) for more in (b"2", b"3")):
                return
        finally:
            self.delete(uri)
        raise ConfigError(
            f"{folder!r}: the server at {here.client.meta.endpoint_url} ignores If-None-Match, so "
            "one worker could replace another's finished file; use another --out, or pass "
            "--allow-unsafe-commit when nothing else writes there"
        )

    def write(self, uri: str, data: bytes) -> None:
        """Write an object, and replace an older one."""
        retry_request(lambda: self._put(uri, data))

    def _put(self, uri: str, data: bytes, **condition: str) -> None:
        """Send an object; where the reply is not S3's, look whether it is there.

        Raises:
            BadReplyError: it is not there.
            StorageError: that cannot be found out.
        """
        bucket, key = split_s3_uri(uri)
        here = connection()
        with s3_errors(uri, "written"):
            answer = here.client.put_object(
                Bucket=bucket, Key=key, Body=data, **here.extra, **condition
            )
        try:
            check_status(answer, uri, "written", OK)
            etag_of(answer, uri, "written")
        except BadReplyError:
            # Some servers say 201 or 204, or give no etag; so does a login page.
            try:
                is_written = self.read(uri) == data
            except UnreadableError:
                is_written = False
            except BadReplyError as error:
                raise StorageError(str(error)) from error  # the read has been retried enough
            if not is_written:
                raise

    def delete(self, uri: str) -> None:
        """Remove an object, if it exists."""
        bucket, key = split_s3_uri(uri)

        def delete() -> None:
            with s3_errors(uri, "deleted"):
                connection().client.delete_object(Bucket=bucket, Key=key)

        retry_request(delete)


def _is_hidden(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Say whether a name begins with a dot that its pattern does not have, as in a shell."""
    depth = patterns.index(ANY_DEPTH) if ANY_DEPTH in patterns else len(names)
    expected = [*patterns[:depth], *([""] * len(names))]
    return any(
        is_hidden_name(name) and not pattern.startswith(".")
        for name, pattern in zip(names, expected, strict=False)
    )


def _folder(key: str) -> str:
    return key if not key or key.endswith("/") else f"{key}/"


def _object(uri: str, version: Version) -> S3Object:
    bucket, key = split_s3_uri(uri)
    return S3Object(connection(), uri, bucket, key, version)
