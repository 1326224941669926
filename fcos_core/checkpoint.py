"""Weights together with the configuration that made them: a local file in, a model out.

Two kinds of file are read: ours (safetensors whose header holds configuration and categories), and
a bare state dict of torchvision's ``fcos_resnet50_fpn`` (safetensors, or ``torch.save`` read with
``weights_only=True``).
"""

# safetensors has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from fcos_core.config import (
    TORCHVISION_NUM_CLASSES,
    ModelConfig,
    config_from_dict,
    config_to_dict,
    torchvision,
)
from fcos_core.errors import CheckpointError, ConfigError
from fcos_core.model.detector import FCOS
from fcos_core.structures import Category
from fcos_core.torchvision_parts import FCOS_ResNet50_FPN_Weights

FORMAT = "fcos-batch/1"
TORCHVISION_NUM_KEYS = 319
CLASS_LOGITS = "head.classification_head.cls_logits.weight"
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
        path: the file; replaced when it exists.
        model: what to write.
        dtype: of the stored floating point numbers; float16 halves the file.
        extra: more header entries, such as how the model was made.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_bytes(serialize_checkpoint(model, dtype=dtype, extra=extra))
    temporary.replace(path)


def serialize_checkpoint(
    model: FCOS, *, dtype: torch.dtype = torch.float32, extra: Mapping[str, str] | None = None
) -> bytes:
    """The content of the file that :func:`save_checkpoint` writes."""
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
    """Build the model a file describes, load its weights strictly, and put it into evaluation mode.

    Args:
        path: a local file; see the module's first lines for the two kinds.

    Raises:
        CheckpointError: unreadable, of another model, or weights and configuration disagree.
    """
    path = Path(path)
    try:
        state, header = _read(path)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror or error}") from error
    if header.get("format") == FORMAT:
        model = _model_from_header(header, path)
    elif "format" in header and str(header["format"]).startswith("fcos-batch/"):
        raise CheckpointError(
            f"checkpoint {path}: format {header['format']}, this version reads {FORMAT}"
        )
    else:
        model, state = _model_from_torchvision(state, path)
    _load_strictly(model, state, path)
    return model.eval()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.is_dir():
        raise CheckpointError(f"checkpoint {path}: is a folder")
    try:
        with safe_open(path, framework="pt") as file:
            header = cast("dict[str, str] | None", file.metadata())
            return {name: file.get_tensor(name) for name in file.keys()}, header or {}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        if path.suffix == ".safetensors":
            raise CheckpointError(
                f"checkpoint {path}: no readable safetensors file: {error}"
            ) from error
    try:
        loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        UnicodeDecodeError,
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
    return state, {}


def _model_from_header(header: Mapping[str, str], path: Path) -> FCOS:
    try:
        config: ModelConfig = config_from_dict(json.loads(header["config"]))
        categories = [
            Category(id=int(c["id"]), name=str(c["name"])) for c in json.loads(header["categories"])
        ]
        return FCOS(config, categories)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path}: its header cannot be used: {error}") from error


def _model_from_torchvision(
    state: Mapping[str, Tensor], path: Path
) -> tuple[FCOS, dict[str, Tensor]]:
    state = {name: value for name, value in state.items() if not name.endswith(BATCH_COUNTER)}
    if CLASS_LOGITS not in state or len(state) != TORCHVISION_NUM_KEYS:
        first = next(iter(state), "none")
        raise CheckpointError(
            f"checkpoint {path}: {len(state)} tensors beginning with {first}; a bare state dict "
            f"must be torchvision's fcos_resnet50_fpn with {TORCHVISION_NUM_KEYS}"
        )
    num_classes = len(state[CLASS_LOGITS])
    return FCOS(torchvision(num_classes), torchvision_categories(num_classes)), state


def torchvision_categories(num_classes: int) -> Sequence[Category]:
    """Labels of a torchvision model are category ids; COCO's names are known for 91 of them."""
    if num_classes == TORCHVISION_NUM_CLASSES:
        names = cast("Sequence[str]", FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
    else:
        names = [f"class_{i}" for i in range(num_classes)]
    return [Category(id=i, name=name) for i, name in enumerate(names)]


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
        if shape != expected[name]:
            raise CheckpointError(
                f"checkpoint {path}: {name} has shape {shape}, must be {expected[name]}"
            )
        if state[name].is_floating_point() and not bool(torch.isfinite(state[name]).all()):
            raise CheckpointError(f"checkpoint {path}: {name} holds a value that is not finite")
    # load_state_dict copies into float32 parameters, whatever the file's precision.
    model.load_state_dict(state, strict=True)
