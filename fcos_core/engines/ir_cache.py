"""The model in OpenVINO's format, converted once per weights and version and kept on disk.

``$XDG_CACHE_HOME/fcos-batch/engines/<digest of the model>-<OpenVINO's version>-<format>/`` holds
``model.xml``, ``model.bin`` and ``sha256.json`` with the digests of both. The folder is written
under another name and renamed, so it is whole or absent; an unusable one is made anew. Where none
can be kept, a temporary one serves.
"""

# openvino's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from fcos_core.config import config_to_dict
from fcos_core.engines.folding import fold_norms
from fcos_core.engines.openvino_import import import_openvino
from fcos_core.errors import ConfigError
from fcos_core.model.detector import FCOS

_FORMAT = 1
"""Raised when the conversion changes, so that no older file is taken."""

_FILES = ("model.xml", "model.bin")
_DIGESTS = "sha256.json"
_EXAMPLE_SHAPE = (1, 3, 128, 160)  # tracing a small image is enough, a large one costs seconds

_log = logging.getLogger(__name__)

Compiled = TypeVar("Compiled")


def cached_ir(model: FCOS, version: str, use: Callable[[Path], Compiled]) -> Compiled:
    """Read the model from the cache, or convert it and keep it there.

    Args:
        model: in evaluation mode.
        version: of OpenVINO.
        use: reads the file; what it returns is returned.
    """
    folder = _folder_of(model, version)
    if folder is not None and _is_folder(folder):
        # Whatever is wrong with a file that somebody else may have written, a new one is right.
        try:
            _require_digests(folder)
            return use(folder / _FILES[0])
        except Exception as error:  # noqa: BLE001
            _log.warning("%s cannot be used, and is made anew: %s", folder, _first_line(error))
            with contextlib.suppress(OSError):
                _discard(folder)
    with tempfile.TemporaryDirectory(prefix="fcos-engine-") as temporary:
        made = _convert(model, Path(temporary))
        kept = made
        if folder is not None:
            try:
                kept = _keep(made, folder)
            except (OSError, ValueError, LookupError, TypeError) as error:
                _log.warning("%s cannot be kept: %s", folder, _first_line(error))
        return use(kept / _FILES[0])


def _is_folder(path: Path) -> bool:
    """Whether it is one that this user can see: Python 3.11 raises where it may not look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def cache_folder() -> Path | None:
    """Where converted models are kept; None for a user without a home."""
    root = os.environ.get("XDG_CACHE_HOME")
    if root:
        return Path(root) / "fcos-batch" / "engines"
    try:
        return Path.home() / ".cache" / "fcos-batch" / "engines"
    except RuntimeError:
        return None


def _folder_of(model: FCOS, version: str) -> Path | None:
    folder = cache_folder()
    return folder and folder / f"{_digest_of(model)}-{version}-{_FORMAT}"


def _digest_of(model: FCOS) -> str:
    digest = hashlib.sha256(json.dumps(config_to_dict(model.config), sort_keys=True).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _convert(model: FCOS, folder: Path) -> Path:
    """Write the model into a new folder inside ``folder``.

    Raises:
        ConfigError: there is no room for it.
    """
    openvino = import_openvino()
    made = folder / "made"
    made.mkdir()
    network = _Outputs(fold_norms(model).cpu()).eval()
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing is deprecated, and warns of sizes that become constants where they do not.
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(
            network,
            example_input=torch.zeros(_EXAMPLE_SHAPE),
            input=[openvino.PartialShape([-1, _EXAMPLE_SHAPE[1], -1, -1])],
        )
    try:
        openvino.save_model(converted, made / _FILES[0], compress_to_fp16=False)
    except RuntimeError as error:  # of C++'s streams, without a reason
        raise ConfigError(
            f"engine openvino: the converted model cannot be written to {folder} (TMPDIR): "
            f"{shutil.disk_usage(folder).free} bytes are free there"
        ) from error
    digests = {name: _sha256(made / name) for name in _FILES}
    (made / _DIGESTS).write_text(json.dumps(digests), encoding="utf-8")
    return made


def _keep(made: Path, folder: Path) -> Path:
    """Copy a folder to its place, unless another process has just put a sound one there.

    Raises:
        OSError: nothing can be written there.
        ValueError: what is there is damaged, and cannot be removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        shutil.copytree(made, part, dirs_exist_ok=True)
        part.rename(folder)
    except OSError:
        if not _is_folder(folder):
            raise
        _require_digests(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _discard(folder: Path) -> None:
    """Remove a folder under another name: nobody sees a part of it."""
    removed = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        folder.rename(removed / "old")
    finally:
        shutil.rmtree(removed, ignore_errors=True)


def _require_digests(folder: Path) -> None:
    """Compare the files with their digests.

    Raises:
        ValueError: a file has changed.
        OSError: a file cannot be read.
    """
    digests = json.loads((folder / _DIGESTS).read_text(encoding="utf-8"))
    for name in _FILES:
        if digests[name] != _sha256(folder / name):
            raise ValueError(f"{name} has changed since it was written")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _Outputs(nn.Module):
    """The network as tensors in, tensors out."""

    def __init__(self, model: FCOS) -> None:
        super().__init__()
        self._model = model

    def forward(self, pixels: Tensor) -> Iterable[Tensor]:
        outputs = self._model(pixels)
        return outputs.cls_logits, outputs.distances, outputs.centerness_logits
