"""S3 uris: ``s3://bucket/key``, where the key stands for itself and is never percent-encoded."""

from fcos_core.errors import ConfigError

SCHEME = "s3://"


def s3_uri(bucket: str, key: str) -> str:
    """Name an object, or with an empty key a bucket."""
    return f"{SCHEME}{bucket}/{key}"


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Split a uri into bucket and key; the key may be empty.

    Raises:
        ConfigError: there is no bucket, or the key cannot be encoded in UTF-8.
    """
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise ConfigError(f"{uri!r} names no bucket")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{uri!r} is not UTF-8, as a key of S3 must be") from error
    return bucket, key
