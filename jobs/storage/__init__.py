"""Storage of objects: names, lists, reads and atomically creates them, on local disk or S3."""

import contextlib
import os
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from fcos_core.errors import ConfigError
from jobs.storage.base import (
    ANY_VERSION,
    TEMPORARY_PREFIX,
    MissingError,
    ObjectInfo,
    Storage,
    UnreadableError,
    Version,
)
from jobs.storage.local import LocalStorage
from jobs.storage.local_uri import FILE_SCHEME, is_local, local_path, local_uri
from jobs.storage.s3.uri import SCHEME as S3_SCHEME
from jobs.storage.s3.uri import split_s3_uri

__all__ = [
    "ANY_VERSION",
    "TEMPORARY_PREFIX",
    "MissingError",
    "ObjectInfo",
    "Storage",
    "UnreadableError",
    "Version",
    "absolute",
    "folder_of",
    "is_local",
    "join",
    "local_path",
    "local_uri",
    "resolve_reference",
    "storage_for",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOCAL = LocalStorage()


def storage_for(uri: str) -> Storage:
    """Choose the storage that holds a uri.

    Raises:
        ConfigError: there is no storage for the uri's scheme.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None or uri.startswith(FILE_SCHEME):
        return _LOCAL
    if scheme[1] == "s3":
        return _s3()
    raise ConfigError(f"{uri!r}: no storage for {scheme[1]}://; give a local path or s3://")


@lru_cache(maxsize=1)
def _s3() -> Storage:
    from jobs.storage.s3.storage import S3Storage  # boto3 is slow to import, and rarely needed

    return S3Storage()


def absolute(uri_or_path: str) -> str:
    """Turn a path or uri that a user typed into a uri, in UTF-8 whatever bytes the path has.

    ``~`` is expanded and ``.`` dropped. Symbolic links keep their names, except where a ``..``
    follows: only the file system knows where that leads. A ``file://`` uri is decoded to its path,
    and any other scheme is kept for ``storage_for`` to check. An S3 key is not changed: dots,
    double slashes and percent signs are part of it.

    Raises:
        ConfigError: the text is empty, holds a NUL, names no bucket, or is a ``file://`` uri of
            another machine.
    """
    if not uri_or_path or "\0" in uri_or_path:
        raise ConfigError(f"{uri_or_path!r} is not a path")
    scheme = _SCHEME.match(uri_or_path)
    if scheme is not None and scheme[1].lower() == "file":
        uri_or_path = _path_of_file_uri(uri_or_path)
    elif scheme is not None and scheme[1].lower() == "s3":
        return _s3_uri(uri_or_path)
    elif scheme is not None:
        return uri_or_path
    path = Path(uri_or_path)
    # Without a user of that name, it is a file whose name begins with ~, as in a shell.
    with contextlib.suppress(RuntimeError):
        path = path.expanduser()
    path = path.absolute()
    if ".." in path.parts:
        last = len(path.parts) - 1 - path.parts[::-1].index("..")
        path = Path(os.path.realpath(Path(*path.parts[: last + 1])), *path.parts[last + 1 :])
    return local_uri(str(path))


def join(uri: str, *parts: str) -> str:
    """Name an object in a folder: ``join("s3://b/run", "detections", "a.parquet")``."""
    joined = "/".join((local_path(uri).rstrip("/"), *(part.strip("/") for part in parts)))
    return local_uri(joined) if is_local(uri) else joined


def resolve_reference(folder: str, name: str) -> str:
    """Turn a name that a file contains into a uri; a relative one starts from ``folder``.

    On S3 too ``.`` and ``..`` in a relative name are resolved.
    """
    if "://" in name or name.startswith("/"):
        return absolute(name)
    if not folder.startswith(S3_SCHEME):
        return absolute(join(folder, name))
    parts = folder.rstrip("/").split("/")
    for part in name.split("/"):
        if part == "..":
            parts[_S3_ROOT:] = parts[_S3_ROOT:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def folder_of(uri: str) -> str:
    """Name the folder of an object; the root and a bucket are their own folders."""
    folder = local_path(uri).rpartition("/")[0] or "/"
    if is_local(uri):
        return local_uri(folder)
    return uri if folder == "s3:/" else folder


_S3_ROOT = 3  # of the parts of s3://bucket/key


def _s3_uri(uri: str) -> str:
    uri = f"{S3_SCHEME}{uri[len(S3_SCHEME) :]}"  # the scheme may be in upper case
    split_s3_uri(uri)
    return uri


def _path_of_file_uri(uri: str) -> str:
    split = urlsplit(uri.replace("#", "%23").replace("?", "%3F"))
    if split.netloc not in {"", "localhost"}:
        raise ConfigError(f"{uri!r} is a path on the machine {split.netloc!r}; give a local path")
    path = os.fsdecode(unquote_to_bytes(split.path))
    if not path or "\0" in path:
        raise ConfigError(f"{uri!r} is not a path")
    return path
