"""Checkpoints: a model's weights, configuration and categories in one local file.

Two kinds of file are read: ours (safetensors whose header holds configuration and categories), and
a bare state dict of torchvision's ``fcos_resnet50_fpn`` (safetensors, or ``torch.save`` read with
``weights_only=True``).
"""

# safetensors has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from fcos_core.category import Category
from fcos_core.checkpoint_header import (
    CLASS_LOGITS,
    FORMAT,
    Header,
    check_predictors,
    check_shape,
    opened_safetensors,
    our_header,
    read_metadata,
    read_shapes,
    reading,
    unusable_header,
)
from fcos_core.config import TORCHVISION_NUM_CLASSES, config_to_dict, torchvision
from fcos_core.errors import CheckpointError
from fcos_core.model.detector import FCOS
from fcos_core.torchvision_imports import FCOS_ResNet50_FPN_Weights

TORCHVISION_NUM_KEYS = 319
BATCH_COUNTER = ".num_batches_tracked"


def save_checkpoint(
    path: Path,
    model: FCOS,
    *,
    dtype: torch.dtype = torch.float32,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a model with its configuration and categories as safetensors.

    Args:
        path: the file; replaced if it exists.
        model: the model to write.
        dtype: type of the stored floating point numbers; float16 halves the file.
        extra: further header entries, such as the settings of the training.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_bytes(serialize_checkpoint(model, dtype=dtype, extra=extra))
    temporary.replace(path)


def serialize_checkpoint(
    model: FCOS, *, dtype: torch.dtype = torch.float32, extra: Mapping[str, str] | None = None
) -> bytes:
    """The content of a file of :func:`save_checkpoint`."""
    state = {
        name: (value.to(dtype) if value.is_floating_point() else value).cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    header = {
        **(extra or {}),
        "format": FORMAT,
        "config": json.dumps(config_to_dict(model.config)),
        "categories": json.dumps([{"id": c.id, "name": c.name} for c in model.categories]),
    }
    return serialize(state, header)


def load_checkpoint(path: str | Path) -> FCOS:
    """Build the model of a checkpoint in evaluation mode and load its weights strictly.

    Args:
        path: a local file; see the module's first lines for the two kinds.

    Raises:
        CheckpointError: the file cannot be read, holds another model, or its weights do not fit its
            configuration.
    """
    path = Path(path)
    content = _read(path, with_tensors=True)
    header = _header(content, path)
    with unusable_header(path):
        model = FCOS(header.config, header.categories)
    _load_strictly(model, content.tensors, path)
    return model.eval()


def read_header(path: str | Path) -> Header:
    """Read a checkpoint's configuration and categories without building the network.

    This checks the names and shapes of the head's last convolutions. Only :func:`load_checkpoint`
    checks the other weights, and that all numbers are finite.

    Args:
        path: a local file; see the module's first lines for the two kinds.

    Raises:
        CheckpointError: the file cannot be read, holds another model, or its weights do not fit its
            configuration.
    """
    path = Path(path)
    return _header(_read(path, with_tensors=False), path)


Value = TypeVar("Value")


class _Content(NamedTuple):
    """A file's content; ``tensors`` may be empty if only the shapes are needed."""

    metadata: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    tensors: Mapping[str, Tensor]


def _read(path: Path, *, with_tensors: bool) -> _Content:
    with reading(path):
        content = _read_safetensors(path, with_tensors=with_tensors) or _read_state_dict(path)
    if "format" in content.metadata:
        return content
    return _Content(
        content.metadata, _without_counters(content.shapes), _without_counters(content.tensors)
    )


def _without_counters(values: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if not name.endswith(BATCH_COUNTER)}


def _read_safetensors(path: Path, *, with_tensors: bool) -> _Content | None:
    with opened_safetensors(path, framework="pt") as file:
        if file is None:
            return None
        metadata, shapes = read_metadata(file), read_shapes(file, path)
        return _Content(
            metadata, shapes, {n: file.get_tensor(n) for n in shapes} if with_tensors else {}
        )


def _refuse_unpacking(path: Path) -> None:
    """Refuse a zip archive that holds more than its own size; ``torch.save`` packs nothing.

    torch would unpack it in memory, or take the packed bytes of a mapped file for numbers.

    Raises:
        CheckpointError: a member is compressed, or members lie over each other.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"checkpoint {path}: {member.filename!r} in it is compressed ({member.file_size} "
                "bytes unpacked); torch.save stores all parts as they are"
            )
    num_bytes, limit = sum(member.file_size for member in members), path.stat().st_size
    if num_bytes > limit:
        raise CheckpointError(
            f"checkpoint {path}: its parts have {num_bytes} bytes, the whole file {limit}"
        )


def _read_state_dict(path: Path) -> _Content:
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _refuse_unpacking(path)
        # A mapped file is read only where tensors are used: for a header, nowhere.
        loaded: object = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except (
        *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, RuntimeError, EOFError),
        *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
        *(ImportError, MemoryError),
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"checkpoint {path}: cannot be read with weights_only=True: {reason}"
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"checkpoint {path}: a {type(loaded).__name__}, must be a state dict")
    state: dict[str, Tensor] = {}
    for name, value in cast("dict[object, object]", loaded).items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise CheckpointError(f"checkpoint {path}: {name} is a {kind}, must be a tensor")
        state[str(name)] = value
    return _Content({}, {name: tuple(value.shape) for name, value in state.items()}, state)


def _header(content: _Content, path: Path) -> Header:
    header = our_header(content.metadata, content.shapes, path)
    if header is None:
        header = _torchvision_header(content.shapes, path)
        check_predictors(header.config, content.shapes, path)
    return header


def _torchvision_header(shapes: Mapping[str, tuple[int, ...]], path: Path) -> Header:
    if CLASS_LOGITS not in shapes or len(shapes) != TORCHVISION_NUM_KEYS:
        first = next(iter(shapes), "none")
        raise CheckpointError(
            f"checkpoint {path}: {len(shapes)} tensors beginning with {first}; a bare state dict "
            f"must be torchvision's fcos_resnet50_fpn with {TORCHVISION_NUM_KEYS}"
        )
    num_classes = shapes[CLASS_LOGITS][0]
    return Header(torchvision(num_classes), torchvision_categories(num_classes))


def torchvision_categories(num_classes: int) -> tuple[Category, ...]:
    """The categories of a torchvision model: its labels are the ids; 91 classes are COCO's."""
    if num_classes == TORCHVISION_NUM_CLASSES:
        names = cast("Sequence[str]", FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
    else:
        names = [f"class_{i}" for i in range(num_classes)]
    return tuple(Category(id=i, name=name) for i, name in enumerate(names))


def _load_strictly(model: FCOS, state: Mapping[str, Tensor], path: Path) -> None:
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    for title, names in (
        ("lacks", sorted(expected.keys() - given.keys())),
        ("has unknown", sorted(given.keys() - expected.keys())),
    ):
        if names:
            raise CheckpointError(
                f"checkpoint {path}: {title} {names[0]} ({len(names)} such of {len(expected)})"
            )
    for name, shape in given.items():
        check_shape(name, shape, expected[name], path)
        if state[name].is_floating_point() and not bool(torch.isfinite(state[name]).all()):
            raise CheckpointError(f"checkpoint {path}: {name} holds a value that is not finite")
    # load_state_dict copies into float32 parameters, whatever the file's precision.
    model.load_state_dict(state, strict=True)
