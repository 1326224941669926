"""Where a model's weights come from: a published name, the bundled demo, a path or a uri."""

import contextlib
import difflib
import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fcos_core.errors import ConfigError, StorageError
from jobs.storage import TEMPORARY_PREFIX, ObjectInfo, absolute, storage_for

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20
_NAME_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A checkpoint that somebody publishes under a fixed address.

    Attributes:
        url: where.
        sha256_prefix: the first hex digits of its sha256, as its publisher gives them.
        max_bytes: more than this is not it.
    """

    url: str
    sha256_prefix: str
    max_bytes: int

    @property
    def file_name(self) -> str:
        """The name torch hub keeps it under."""
        return self.url.rsplit("/", 1)[-1]


COCO = PublishedWeights(
    url="https://download.pytorch.org/models/fcos_resnet50_fpn_coco-99b0c9b7.pth",
    sha256_prefix="99b0c9b7",
    max_bytes=256 << 20,
)
"""Torchvision's FCOS: ResNet-50 with FPN, trained on COCO, 91 categories, 129 MB."""

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo" / "demo.safetensors"
"""The checkpoint that this package brings along."""

_NAMES = ("coco", "demo")


@dataclass(frozen=True, kw_only=True)
class ResolvedWeights:
    """Weights that lie on this machine.

    Attributes:
        path: the file.
        sha256: of its content, in hex.
        spec: what was asked for.
    """

    path: Path
    sha256: str
    spec: str


def resolve_weights(
    spec: str,
    *,
    published: PublishedWeights = COCO,
    cache: Path | None = None,
    timeout_s: float = 10.0,
    deadline_s: float = 3600.0,
) -> ResolvedWeights:
    """Find weights, and download them if they are published ones that are not here yet.

    Args:
        spec: ``coco``, its address, ``demo``, a path or a uri.
        published: what ``coco`` means.
        cache: where downloads are kept; None for torch hub's folder of checkpoints.
        timeout_s: how long to wait for the connection and for each part of the answer.
        deadline_s: how long the whole download may take.

    Raises:
        ConfigError: there are no such weights, or they cannot be downloaded from here.
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
    if "://" in uri:
        return _copy_of(info, spec, _checkpoints(cache))
    try:
        return ResolvedWeights(path=Path(uri), sha256=_sha256_of(Path(uri)), spec=spec)
    except OSError as error:
        raise ConfigError(f"weights {spec!r} cannot be read: {error.strerror}") from error


def _checkpoints(cache: Path | None) -> Path:
    if cache is not None:
        return cache
    from torch.hub import get_dir  # torch takes seconds, and few runs get here

    return Path(get_dir()) / "checkpoints"


def _copy_of(info: ObjectInfo, spec: str, folder: Path) -> ResolvedWeights:
    """Keep a copy of a stored object, under a name made of its version and of its sha256.

    Raises:
        ConfigError: it cannot be read, or not be kept.
    """
    version = hashlib.sha256(f"{info.uri}\0{info.etag}".encode()).hexdigest()[:_NAME_DIGITS]
    suffix = PurePosixPath(info.uri).suffix
    for path in sorted(folder.glob(f"fcos-{version}-*")):
        with contextlib.suppress(OSError):  # of another user: it is fetched again
            if (sha256 := _sha256_of(path)) == path.stem.rpartition("-")[2]:
                return ResolvedWeights(path=path, sha256=sha256, spec=spec)
            _log.warning("%s is damaged (sha256 %s) and is fetched again", path, sha256)
    try:
        data = storage_for(info.uri).read(info.uri, info.version)
        sha256 = hashlib.sha256(data).hexdigest()
        path = folder / f"fcos-{version}-{sha256}{suffix}"
        storage_for(str(path)).write(str(path), data)
    except StorageError as error:
        raise ConfigError(f"weights {spec!r}: {error}") from error
    _log.info("kept a copy of %s as %s", info.uri, path)
    return ResolvedWeights(path=path, sha256=sha256, spec=spec)


def _unknown(spec: str, uri: str) -> str:
    if spec == "demo":
        return f"weights 'demo': this installation lacks its bundled checkpoint {uri!r}"
    if storage_for(uri).is_folder(uri):
        return f"weights {spec!r}: this is a folder; pass the checkpoint's file"
    near = difflib.get_close_matches(spec, _NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"weights {spec!r}: no such file, and the known names are {', '.join(_NAMES)}{hint}"


def _cached(path: Path, published: PublishedWeights) -> str | None:
    try:
        sha256 = _sha256_of(path)
    except OSError:
        return None  # not here, or not ours to read: it is downloaded
    if sha256.startswith(published.sha256_prefix):
        return sha256
    _log.warning("%s is damaged (sha256 %s) and is downloaded again", path, sha256)
    return None


def _download(path: Path, published: PublishedWeights, timeout_s: float, deadline_s: float) -> str:
    """Fetch the published file, and give it its name only when its hash is right.

    Raises:
        ConfigError: that did not work, and what to do instead.
    """
    temporary = path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _log.info("downloading %s to %s", published.url, path)
        with (
            urllib.request.urlopen(published.url, timeout=timeout_s) as answer,  # noqa: S310 -- a constant https address
            temporary.open("xb") as file,
        ):
            sha256 = _copy(answer, file, published, time.monotonic() + deadline_s)
        temporary.replace(path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an open answer as well
        raise ConfigError(
            f"weights 'coco' are not at {str(path)!r} and cannot be downloaded ({error}): "
            f"fetch {published.url} on a machine that can, and pass --weights PATH"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return sha256


def _copy(answer: BinaryIO, file: BinaryIO, published: PublishedWeights, end_s: float) -> str:
    digest = hashlib.sha256()
    num_bytes = 0
    while block := answer.read(_BLOCK_BYTES):
        digest.update(block)
        num_bytes += len(block)
        if num_bytes > published.max_bytes:
            raise ValueError(f"more than {published.max_bytes} bytes came")
        if time.monotonic() > end_s:
            raise ValueError(f"it took too long for {num_bytes} bytes")
        file.write(block)
    sha256 = digest.hexdigest()
    if not sha256.startswith(published.sha256_prefix):
        wanted = f"begins with {published.sha256_prefix}"
        raise ValueError(f"{num_bytes} bytes came, with sha256 {sha256}; the right one {wanted}")
    return sha256


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
