"""What boto3 and S3 servers say when something is wrong, as our errors with one line each."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
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
from jobs.storage.base import MissingError, UnreadableError

Doing = Literal["read", "listed", "written", "deleted"]

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
    "InvalidAccessKeyId": "the access key is unknown there",
    "SignatureDoesNotMatch": "the secret key is not that access key's",
    "InvalidToken": "the session token is malformed",
    "InvalidClientTokenId": "the session token is malformed",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AuthorizationHeaderMalformed": "the region is wrong: set AWS_REGION",
    "InvalidSecurity": "the credentials are not valid",
    "NotSignedUp": "the account has no S3",
    "AccountProblem": "the account has a problem",
    "AllAccessDisabled": "all access is disabled",
}
_TRANSIENT = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError"}
_NO_CREDENTIALS = (
    "no AWS credentials were found: set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or FCOS_S3_ANONYMOUS=1 for a public bucket"
)


@contextlib.contextmanager
def s3_errors(uri: str, doing: Doing) -> Generator[None]:
    """Turn what boto3 raises into our errors; botocore has tried again all it could.

    Args:
        uri: what it is about.
        doing: what was tried.

    Yields:
        Once, to the code that asks S3.

    Raises:
        FcosError: one that ``Storage`` names.
    """
    try:
        yield
    except (ClientError, BotoCoreError, ResponseParserError, ValueError) as error:
        told: FcosError = translate(error, uri, doing)
        raise told from error


def translate(error: Exception, uri: str, doing: Doing) -> FcosError:
    """Choose the error that says what somebody can do about it."""
    place = f"{uri!r} cannot be {doing}"
    if isinstance(error, ClientError):
        return _of_answer(error, place, doing)
    if isinstance(error, NoCredentialsError):
        return ConfigError(f"{place}: {_NO_CREDENTIALS}")
    if isinstance(error, HTTPClientError | NoConnectionError) and not isinstance(error, SSLError):
        return StorageError(f"{place}: {_one_line(error)}")
    if isinstance(error, ResponseParserError):
        return ConfigError(f"{place}: what answers there does not speak S3")
    # The rest is setup: profiles, keys, tokens, certificates, names of buckets.
    return ConfigError(f"{place}: {_one_line(error)}")


def status_of(error: ClientError) -> int:
    """The HTTP status of an answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def was_retried(answer: object) -> bool:
    """Say whether botocore sent a request more than once, by its answer or by a ``ClientError``."""
    response = answer.response if isinstance(answer, ClientError) else answer
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(metadata.get("RetryAttempts", 0)) > 0


def _of_answer(error: ClientError, place: str, doing: Doing) -> FcosError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = status_of(error)
    told = f"{code}, HTTP {status}" if code and code != str(status) else f"HTTP {status}"
    if code in _EXPIRED:
        return ConfigError(f"{place}: the credentials have expired ({told}); renew them")
    if code in _REFUSED:
        return ConfigError(f"{place}: the credentials are refused: {_REFUSED[code]} ({told})")
    if code == "NoSuchBucket":
        return ConfigError(f"{place}: there is no such bucket ({told})")
    if (
        (status >= _SERVER_ERROR and status != _NOT_IMPLEMENTED)
        or status in {_TOO_MANY_REQUESTS, _REQUEST_TIMEOUT, CONFLICT}
        or code in _TRANSIENT
    ):
        return StorageError(f"{place} now: {told}: {_message(error)}")
    if status in _REDIRECTS:
        return ConfigError(f"{place}: the bucket is elsewhere ({told}); check region and endpoint")
    reason = f"access is denied ({told})" if status == FORBIDDEN else f"{told}: {_message(error)}"
    if doing != "read":
        return ConfigError(f"{place}: {reason}")
    if status == NOT_FOUND:
        return MissingError(f"{place}: there is no such object")
    return UnreadableError(f"{place}: {reason}")


def _message(error: ClientError) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Message", "")).split()) or "no reason"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
