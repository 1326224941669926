"""One way to name, list, read and atomically create an object."""

import contextlib
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fcos_core.errors import ConfigError
from jobs.storage.base import TEMPORARY_PREFIX, ObjectInfo, Storage
from jobs.storage.local import LocalStorage

__all__ = ["TEMPORARY_PREFIX", "ObjectInfo", "Storage", "absolute", "join", "storage_for"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOCAL = LocalStorage()


def storage_for(uri: str) -> Storage:
    """Choose the storage that holds a uri.

    Raises:
        ConfigError: this version has no storage for the uri's scheme.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return _LOCAL
    if scheme[1].lower() == "s3":
        message = f"{uri!r}: S3 is not supported by this version; give a local path"
    else:
        message = f"{uri!r}: no storage for {scheme[1]}://; give a local path"
    raise ConfigError(message)


def absolute(uri_or_path: str) -> str:
    """Turn what a person typed into a uri.

    ``~`` is expanded and ``.`` dropped. Symbolic links stay as they are named, except where a
    ``..`` follows: only the file system knows what that leads to. ``file://`` is decoded to its
    path, and any other scheme is kept for ``storage_for`` to judge.

    Raises:
        ConfigError: the text is empty, holds a NUL or is a ``file://`` uri of another machine.
    """
    if not uri_or_path or "\0" in uri_or_path:
        raise ConfigError(f"{uri_or_path!r} is not a path")
    scheme = _SCHEME.match(uri_or_path)
    if scheme is not None and scheme[1].lower() == "file":
        uri_or_path = _path_of_file_uri(uri_or_path)
    elif scheme is not None:
        return uri_or_path
    path = Path(uri_or_path)
    # No user of that name: then it is a file whose name begins with ~, as in a shell.
    with contextlib.suppress(RuntimeError):
        path = path.expanduser()
    path = path.absolute()
    if ".." in path.parts:
        last = len(path.parts) - 1 - path.parts[::-1].index("..")
        path = Path(os.path.realpath(Path(*path.parts[: last + 1])), *path.parts[last + 1 :])
    return str(path)


def join(uri: str, *parts: str) -> str:
    """Name something under a folder: ``join("s3://b/run", "detections", "a.parquet")``."""
    return "/".join((uri.rstrip("/"), *(part.strip("/") for part in parts)))


def _path_of_file_uri(uri: str) -> str:
    split = urlsplit(uri.replace("#", "%23").replace("?", "%3F"))
    if split.netloc not in {"", "localhost"}:
        raise ConfigError(f"{uri!r} names the machine {split.netloc!r}; give a local path")
    path = unquote(split.path)
    if not path or "\0" in path:
        raise ConfigError(f"{uri!r} is not a path")
    return path
