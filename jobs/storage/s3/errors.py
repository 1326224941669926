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

from fcos_core.errors import ConfigError, FcosError, StorageError
from jobs.storage.base import MissingError, UnreadableError, one_line

Operation = Literal["read", "listed", "written", "deleted"]

PRECONDITION_FAILED = 412
CONFLICT = 409
RANGE_NOT_SATISFIABLE = 416
NOT_FOUND = 404
FORBIDDEN = 403
_TOO_MANY_REQUESTS = 429
_REQUEST_TIMEOUT = 408
_SERVER_ERROR = 500
_NOT_IMPLEMENTED = 501
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
_TRANSIENT = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError"}
_NO_CREDENTIALS = (
    "no AWS credentials were found: set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or FCOS_S3_ANONYMOUS=1 for a public bucket"
)


class BrokenBodyError(StorageError):
    """The body of a response broke off or is damaged."""


class ConflictError(StorageError):
    """Two requests to create one object met, and the server refused both."""


def body_error(uri: str, reason: str) -> BrokenBodyError:
    """Make the error for a response whose body is not usable; a retry may help."""
    return BrokenBodyError(f"{uri!r} cannot be read now: {reason}")


@contextlib.contextmanager
def s3_errors(uri: str, operation: Operation) -> Generator[None]:
    """Turn what boto3 raises into our errors; botocore has already retried.

    Yields:
        Once, to the code that asks S3.

    Raises:
        FcosError: the errors of ``Storage``.
    """
    try:
        yield
    except (ClientError, BotoCoreError, ResponseParserError, ValueError) as error:
        ours: FcosError = translate(error, uri, operation)
        raise ours from error


def translate(error: Exception, uri: str, operation: Operation) -> FcosError:
    """Make our error for one of boto3; the message says what the user can do."""
    place = f"{uri!r} cannot be {operation}"
    if isinstance(error, ClientError):
        return _from_response(error, place, operation)
    if isinstance(error, NoCredentialsError):
        return ConfigError(f"{place}: {_NO_CREDENTIALS}")
    if isinstance(error, HTTPClientError | NoConnectionError) and not isinstance(error, SSLError):
        return StorageError(f"{place}: {one_line(error)}")
    if isinstance(error, ResponseParserError):
        return ConfigError(f"{place}: the endpoint is not an S3 server")
    # The other errors come from the setup: profiles, keys, tokens, certificates, bucket names.
    return ConfigError(f"{place}: {one_line(error)}")


def status_of(error: ClientError) -> int:
    """Return the HTTP status of a response."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def was_retried(error: ClientError) -> bool:
    """Say whether botocore sent the request of an error more than once."""
    metadata = error.response.get("ResponseMetadata", {})
    return int(metadata.get("RetryAttempts", 0)) > 0


def _from_response(error: ClientError, place: str, operation: Operation) -> FcosError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = status_of(error)
    reply = f"{code}, HTTP {status}" if code and code != str(status) else f"HTTP {status}"
    if code in _EXPIRED:
        return ConfigError(f"{place}: the credentials have expired ({reply}); renew them")
    if code in _REFUSED:
        return ConfigError(f"{place}: the credentials are refused: {_REFUSED[code]} ({reply})")
    if code == "NoSuchBucket":
        return ConfigError(f"{place}: there is no such bucket ({reply})")
    if (
        (status >= _SERVER_ERROR and status != _NOT_IMPLEMENTED)
        or status in {_TOO_MANY_REQUESTS, _REQUEST_TIMEOUT, CONFLICT}
        or code in _TRANSIENT
    ):
        return StorageError(f"{place} now: {reply}: {_message(error)}")
    if status in _REDIRECTS:
        return ConfigError(
            f"{place}: the bucket has another address ({reply}); check region and endpoint"
        )
    reason = f"access is denied ({reply})" if status == FORBIDDEN else f"{reply}: {_message(error)}"
    if operation != "read":
        return ConfigError(f"{place}: {reason}")
    if status == NOT_FOUND:
        return MissingError(f"{place}: there is no such object")
    return UnreadableError(f"{place}: {reason}")


def _message(error: ClientError) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Message", "")).split()) or "no reason"
