"""No single reply decides: what every reply must have, and how often a request is sent again.

botocore repeats a request after a lost connection and after errors like HTTP 503. Everything else
that a server, a proxy or a cache can get wrong is met here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from fcos_core.errors import ConfigError
from jobs.storage.base import UnreadableError, Version
from jobs.storage.retrying import RetryPolicy
from jobs.storage.s3.errors import BadReplyError, Operation, not_now

T = TypeVar("T")

OK = 200
PARTIAL_CONTENT = 206
_LARGEST_BYTES = 2**63 - 1

BAD_REPLY_RETRIES = RetryPolicy(attempts=10, first_delay_s=0.1, max_delay_s=5.0, on=BadReplyError)
"""How often a request is sent again after a bad reply."""


def confirm_refusal(action: Callable[[], T]) -> T:
    """Run an action, and once more after a refusal.

    A refusal quarantines an object (``UnreadableError``) or ends the run (``ConfigError``). One
    wrong reply must not do that: a refusal counts when it comes twice.

    Raises:
        ConfigError: as the action; not repeated where this machine's own setup is the cause.
    """
    try:
        return action()
    except UnreadableError:
        return action()
    except ConfigError as error:
        if not isinstance(error.__cause__, ClientError):
            raise  # from this machine's own setup
        return action()


def retry_request(action: Callable[[], T]) -> T:
    """Run an action of one request; retry it after bad replies, and confirm a refusal."""
    return confirm_refusal(lambda: BAD_REPLY_RETRIES.run(action))


def check_status(answer: dict[str, Any], uri: str, operation: Operation, expected: int) -> None:
    """Refuse a reply with another status than S3 gives to such a request.

    Raises:
        BadReplyError: the status differs.
    """
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    if status != expected:
        raise BadReplyError(not_now(uri, operation, f"HTTP {status} instead of {expected}"))


def etag_of(answer: dict[str, Any], uri: str, operation: Operation) -> str:
    """Return the version mark of a reply, or of an entry of a listing, without its quotes.

    A weak one is refused: it may stand for other bytes, as when a proxy compresses them, and it
    never matches in ``If-Match``.

    Raises:
        BadReplyError: there is none, or a weak one.
    """
    etag = answer.get("ETag")
    if not isinstance(etag, str) or not etag.strip('"'):
        raise BadReplyError(not_now(uri, operation, "the reply has no ETag"))
    if etag.startswith("W/"):
        raise BadReplyError(not_now(uri, operation, f"the reply has the weak ETag {etag}"))
    return etag.strip('"')


def size_of(answer: dict[str, Any], name: str, uri: str, operation: Operation) -> int:
    """Return a size in bytes, from the field of this name.

    Raises:
        BadReplyError: there is none, or none that the manifest can hold.
    """
    size = answer.get(name)
    if not isinstance(size, int) or not 0 <= size <= _LARGEST_BYTES:
        raise BadReplyError(not_now(uri, operation, f"the reply has the {name} {size}"))
    return size


def version_of(answer: dict[str, Any], uri: str) -> Version:
    """Return size and etag of a whole object's reply; a ``BadReplyError`` says what it lacks."""
    check_status(answer, uri, "read", OK)
    size_bytes = size_of(answer, "ContentLength", uri, "read")
    return Version(size_bytes=size_bytes, etag=etag_of(answer, uri, "read"))
