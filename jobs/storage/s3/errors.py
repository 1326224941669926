"""Turns the errors of boto3 and of S3 servers into ours, each with a message of one line."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# botocore has no types

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Literal

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from fcos_core.errors import ConfigError, FcosError, StorageError, one_line
from jobs.storage.base import MissingError, UnreadableError

Operation = Literal["read", "listed", "written", "deleted"]

PRECONDITION_FAILED = 412
CONFLICT = 409
RANGE_NOT_SATISFIABLE = 416
NOT_FOUND = 404
FORBIDDEN = 403
_BAD_REQUEST = 400
NOT_IMPLEMENTED = 501
_REPEATED_BY_BOTOCORE = {500, 502, 503, 504}
# Only ranges inside the object are asked for; who sets a condition looks for 412 himself.
_WITHOUT_REASON = {PRECONDITION_FAILED, RANGE_NOT_SATISFIABLE, 408, 429}
_REDIRECTS = {301, 302, 307, 308}

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_REFUSED = {
    "InvalidAccessKeyId": "the server does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "InvalidToken": "the session token is malformed",
    "InvalidClientTokenId": "the session token is malformed",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AuthorizationHeaderMalformed": "the region is wrong: set AWS_REGION",
    "InvalidSecurity": "the credentials are invalid",
    "NotSignedUp": "the account has no S3",
    "AccountProblem": "the account has a problem",
    "AllAccessDisabled": "all access is disabled",
}
_ARCHIVED = "InvalidObjectState"
_TRANSIENT = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError"}
_NO_CREDENTIALS = (
    "no AWS credentials were found: set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or FCOS_S3_ANONYMOUS=1 for a public bucket"
)


class BadReplyError(StorageError):
    """A reply that cannot be used, though botocore takes it or does not repeat its request.

    It broke off, is damaged, lacks a part, or does not fit what was asked. The request is sent
    again here.
    """


class ConflictError(BadReplyError):
    """Two requests to create one object met, and the server refused both."""


def not_now(uri: str, operation: Operation, reason: str) -> str:
    """Spell the message for what a retry may mend."""
    return f"{uri!r} cannot be {operation} now: {reason}"


@contextlib.contextmanager
def s3_errors(uri: str, operation: Operation) -> Generator[None]:
    """Turn what one call of boto3 raises into our errors; botocore has already retried.

    botocore reads a reply's fields as they come: a size that is no number is a ``ValueError``, an
    absent element a ``KeyError`` or ``TypeError``, and the body of an error may break off.

    Yields:
        Once, to one call of boto3 and nothing else.

    Raises:
        FcosError: the errors of ``Storage``.
        BadReplyError: the reply cannot be parsed.
        ConfigError: the server redirects for ever.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        ours: FcosError = translate(error, uri, operation)
        raise ours from error
    except RecursionError as error:
        # botocore asks for the bucket's region after a redirect, and again after the next one.
        reason = "the server redirects in a circle; check region and endpoint"
        raise ConfigError(f"{uri!r} cannot be {operation}: {reason}") from error
    except ResponseParserError as error:
        raise BadReplyError(
            not_now(uri, operation, "the reply is not S3's; check the endpoint")
        ) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        reason = f"the reply has a wrong part: {type(error).__name__}: {one_line(error)}"
        raise BadReplyError(not_now(uri, operation, reason)) from error
    except (HTTPError, OSError) as error:
        reason = f"the connection broke: {one_line(error)}"
        raise BadReplyError(not_now(uri, operation, reason)) from error


def translate(error: Exception, uri: str, operation: Operation) -> FcosError:
    """Make our error for one of boto3; the message says what the user can do."""
    place = f"{uri!r} cannot be {operation}"
    if isinstance(error, ClientError):
        return _from_response(error, place, operation)
    if isinstance(error, NoCredentialsError):
        return ConfigError(f"{place}: {_NO_CREDENTIALS}")
    if isinstance(error, HTTPClientError | NoConnectionError) and not _is_certificate_error(error):
        return StorageError(f"{place}: {one_line(error)}")
    # The other errors come from the setup: profiles, keys, tokens, certificates, bucket names.
    return ConfigError(f"{place}: {one_line(error)}")


def error_status(error: BaseException | None) -> int:
    """Return the HTTP status behind an error of ours or of boto3; 0 where there is none."""
    cause = error if isinstance(error, ClientError) or error is None else error.__cause__
    if not isinstance(cause, ClientError):
        return 0
    return int(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_certificate_error(error: Exception) -> bool:
    return isinstance(error, SSLError) and "certificate" in str(error).lower()


def was_retried(error: BaseException) -> bool:
    """Say whether botocore sent the request of an error more than once."""
    assert isinstance(error.__cause__, ClientError)
    metadata = error.__cause__.response.get("ResponseMetadata", {})
    return int(metadata.get("RetryAttempts", 0)) > 0


def _from_response(error: ClientError, place: str, operation: Operation) -> FcosError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error_status(error)
    reply = f"{code}, HTTP {status}" if code and code != str(status) else f"HTTP {status}"
    if code in _EXPIRED:
        return ConfigError(f"{place}: the credentials have expired ({reply}); renew them")
    if code in _REFUSED:
        return ConfigError(f"{place}: the credentials are refused: {_REFUSED[code]} ({reply})")
    if code == "NoSuchBucket":
        return ConfigError(f"{place}: there is no such bucket ({reply})")
    if status in _REPEATED_BY_BOTOCORE or code in _TRANSIENT:
        return StorageError(f"{place} now: {reply}: {_message(error)}")
    if status == CONFLICT:
        return ConflictError(f"{place} now: {reply}: {_message(error)}")
    if status in _REDIRECTS:
        return ConfigError(
            f"{place}: the bucket has another address ({reply}); check region and endpoint"
        )
    if status < _BAD_REQUEST or status > NOT_IMPLEMENTED or status in _WITHOUT_REASON:
        return BadReplyError(f"{place} now: {reply}: {_message(error)}")
    reason = _refusal(error, code, status, reply)
    if operation != "read":
        return ConfigError(f"{place}: {reason}")
    if status == NOT_FOUND:
        return MissingError(f"{place}: there is no such object")
    return UnreadableError(f"{place}: {reason}")


def _refusal(error: ClientError, code: str, status: int, reply: str) -> str:
    if code == _ARCHIVED:
        storage_class = error.response.get("Error", {}).get("StorageClass")
        where = f" in {storage_class}" if storage_class else ""
        return f"it is archived{where} ({reply}); restore it first"
    return f"access is denied ({reply})" if status == FORBIDDEN else f"{reply}: {_message(error)}"


def _message(error: ClientError) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Message", "")).split()) or "no reason"
