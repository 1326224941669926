"""Where a model's weights come from: a published name, the bundled demo, a path or a uri."""

import contextlib
import difflib
import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fcos_core.errors import ConfigError, StorageError, one_line
from jobs.storage import (
    ANY_VERSION,
    TEMPORARY_PREFIX,
    ObjectInfo,
    UnreadableError,
    Version,
    absolute,
    is_local,
    local_path,
    storage_for,
)
from jobs.storage.chunks import HashedChunks
from jobs.storage.deadlines import bounded
from jobs.storage.retrying import RetryPolicy

_log = logging.getLogger(__name__)

_ATTEMPTS = RetryPolicy(attempts=3)
_BLOCK_BYTES = 1 << 20
_NAME_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A checkpoint at a fixed address; a file of more than ``max_bytes`` is refused.

    ``sha256_prefix`` has the first hex digits of the file's sha256, as its publisher gives them.
    """

    url: str
    sha256_prefix: str
    max_bytes: int

    @property
    def file_name(self) -> str:
        """The file's name in torch hub's folder."""
        return self.url.rsplit("/", 1)[-1]


COCO = PublishedWeights(
    url="https://download.pytorch.org/models/fcos_resnet50_fpn_coco-99b0c9b7.pth",
    sha256_prefix="99b0c9b7",
    max_bytes=256 << 20,
)
"""Torchvision's FCOS: ResNet-50 with FPN, trained on COCO, 91 categories, 129 MB."""

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo" / "demo.safetensors"
"""The checkpoint that is part of this package."""

_NAMES = ("coco", "demo")


@dataclass(frozen=True, kw_only=True)
class ResolvedWeights:
    """A file of weights on this machine.

    Attributes:
        path: the file.
        sha256: of its content, hexadecimal.
        spec: the name, path or uri that the user gave.
        version: that of the content; none for a copy of ours, which is never rewritten in place.
    """

    path: Path
    sha256: str
    spec: str
    version: Version = ANY_VERSION

    def check_unchanged(self) -> None:
        """Make sure that what was read from the file by now has this sha256.

        Raises:
            ConfigError: the file was changed meanwhile.
        """
        info = storage_for(str(self.path)).stat(str(self.path))
        found = Version(size_bytes=-1) if info is None else info.version
        if found.differs(self.version):
            raise ConfigError(f"weights {self.spec!r} were changed while they were read")


def resolve_weights(
    spec: str,
    *,
    published: PublishedWeights = COCO,
    cache: Path | None = None,
    timeout_s: float = 10.0,
    deadline_s: float = 3600.0,
) -> ResolvedWeights:
    """Find weights, and download published ones that are not on this machine yet.

    Args:
        spec: ``coco``, its address, ``demo``, a path or a uri.
        published: the weights that ``coco`` stands for.
        cache: the folder for downloads; None for torch hub's folder of checkpoints.
        timeout_s: the longest wait for the connection and for each part of the download.
        deadline_s: the longest time for the whole download, with its three attempts.

    Raises:
        ConfigError: there are no such weights, or they cannot be downloaded.
    """
    if spec in {"coco", published.url}:
        path = _checkpoints(cache) / published.file_name
        sha256 = _cached(path, published) or _download(path, published, timeout_s, deadline_s)
        return ResolvedWeights(path=path, sha256=sha256, spec=spec)
    if spec.lower().startswith(("http://", "https://")):
        raise ConfigError(
            f"weights {spec!r}: only {published.url} is downloaded, its hash is known; "
            "download the file yourself and pass --weights PATH"
        )
    uri = str(DEMO) if spec == "demo" else absolute(spec)
    info = storage_for(uri).stat(uri)
    if info is None:
        raise ConfigError(_unknown(spec, uri))
    if uri != local_path(uri) or not is_local(uri):  # safetensors opens no path that is not UTF-8
        return _cached_copy(info, spec, _checkpoints(cache))
    chunks = HashedChunks(uri)
    try:
        deque(chunks, maxlen=0)
    except StorageError as error:
        raise ConfigError(f"weights {spec!r}: {error}") from error
    return ResolvedWeights(path=Path(uri), sha256=chunks.sha256, spec=spec, version=info.version)


def _checkpoints(cache: Path | None) -> Path:
    if cache is not None:
        return cache
    # The folder of torch.hub, which takes seconds to import.
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(caches, "torch"))  # noqa: PTH118 -- as torch
    return Path(home).expanduser() / "hub" / "checkpoints"


def _cached_copy(info: ObjectInfo, spec: str, folder: Path) -> ResolvedWeights:
    # The copy's name is made of the object's version and of its sha256.
    mark = info.etag if info.etag is not None else info.version
    version = hashlib.sha256(f"{info.uri}\0{mark}".encode()).hexdigest()[:_NAME_DIGITS]
    suffix = PurePosixPath(info.uri).suffix
    for path in sorted(folder.glob(f"fcos-{version}-*")):
        with contextlib.suppress(OSError):  # the file of another user: a new copy is made
            if (sha256 := _sha256_of(path)) == path.stem.rpartition("-")[2]:
                return ResolvedWeights(path=path, sha256=sha256, spec=spec)
            _log.warning("%s is damaged (sha256 %s) and is copied again", path, sha256)
    try:
        data = storage_for(info.uri).read(info.uri, info.version)
        sha256 = hashlib.sha256(data).hexdigest()
        path = folder / f"fcos-{version}-{sha256}{suffix}"
        storage_for(str(path)).write(str(path), data)
    except StorageError as error:
        raise ConfigError(f"weights {spec!r}: {error}") from error
    _log.info("copied %s to %s", info.uri, path)
    return ResolvedWeights(path=path, sha256=sha256, spec=spec)


def _unknown(spec: str, uri: str) -> str:
    if spec == "demo":
        return f"weights 'demo': the bundled checkpoint {uri!r} is missing from this installation"
    if storage_for(uri).is_folder(uri):
        return f"weights {spec!r} is a folder; pass the checkpoint's file"
    near = difflib.get_close_matches(spec, _NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"weights {spec!r}: no such file, and the known names are {', '.join(_NAMES)}{hint}"


def _cached(path: Path, published: PublishedWeights) -> str | None:
    try:
        sha256 = _sha256_of(path)
    except OSError:
        return None  # missing, or not readable for this user: it is downloaded
    if sha256.startswith(published.sha256_prefix):
        return sha256
    _log.warning("%s is damaged (sha256 %s) and is downloaded again", path, sha256)
    return None


def _download(path: Path, published: PublishedWeights, timeout_s: float, deadline_s: float) -> str:
    end_s = time.monotonic() + deadline_s
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _log.info("downloading %s to %s", published.url, path)
        return _ATTEMPTS.run(lambda: _download_once(path, published, timeout_s, end_s))
    except (OSError, StorageError) as error:
        raise ConfigError(
            f"weights 'coco' are not at {str(path)!r} and cannot be downloaded "
            f"({one_line(error)}): download {published.url} on another machine, "
            "and pass --weights PATH"
        ) from error


def _download_once(path: Path, published: PublishedWeights, timeout_s: float, end_s: float) -> str:
    # The file gets its final name only when its hash is right.
    temporary = path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        with (
            _opener(end_s).open(published.url, timeout=timeout_s) as response,
            temporary.open("xb") as file,
        ):
            sha256 = _copy(response, file, published, end_s)
        temporary.replace(path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # the error holds an open response
        reason = one_line(error) or type(error).__name__
        if time.monotonic() >= end_s:
            raise UnreadableError(f"not whole before the deadline: {reason}") from error
        raise StorageError(reason) from error
    finally:
        temporary.unlink(missing_ok=True)
    return sha256


def _opener(end_s: float) -> urllib.request.OpenerDirector:
    """Open addresses as urlopen does, where the headers of a response have a deadline too."""
    remaining_s = max(end_s - time.monotonic(), 0.0)

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(bounded(http.client.HTTPConnection, remaining_s), req)

    class Encrypted(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(bounded(http.client.HTTPSConnection, remaining_s), req)

    return urllib.request.build_opener(Plain, Encrypted)


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, published: PublishedWeights, end_s: float
) -> str:
    digest = hashlib.sha256()
    num_bytes = 0
    while block := response.read1(_BLOCK_BYTES):  # returns what has come, however little
        digest.update(block)
        num_bytes += len(block)
        if num_bytes > published.max_bytes:
            raise ValueError(f"the server sends more than {published.max_bytes} bytes")
        if time.monotonic() > end_s:
            raise ValueError(f"only {num_bytes} bytes arrived")
        file.write(block)
    sha256 = digest.hexdigest()
    if not sha256.startswith(published.sha256_prefix):
        expected = f"one that begins with {published.sha256_prefix}"
        raise ValueError(f"the {num_bytes} bytes have sha256 {sha256}, expected {expected}")
    return sha256


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
