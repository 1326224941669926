"""A checkpoint's configuration and categories, read from our own files without torch."""

# safetensors has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from safetensors import SafetensorError, safe_open

from fcos_core.category import Category, check_categories
from fcos_core.config import ModelConfig, config_from_dict
from fcos_core.errors import CheckpointError, ConfigError

FORMAT = "fcos-batch/1"
CLASS_LOGITS = "head.classification_head.cls_logits.weight"
MAX_TENSORS = 10_000
"""The most tensors of a file; the largest model has some hundreds."""

_ANY_FORMAT = "fcos-batch/"

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor of a file, by its name."""


class Header(NamedTuple):
    """A checkpoint's configuration and categories."""

    config: ModelConfig
    categories: tuple[Category, ...]


def read_our_header(path: str | Path) -> Header | None:
    """Read the header of a checkpoint in our format; see ``fcos_core.checkpoint.read_header``.

    Args:
        path: a local file.

    Returns:
        The header; None where the file is another kind of checkpoint, or none at all.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit its configuration.
    """
    path = Path(path)
    # For numpy's arrays it imports no torch; no tensor is read either way.
    with reading(path), opened_safetensors(path, framework="np") as file:
        if file is None:
            return None
        metadata, shapes = read_metadata(file), read_shapes(file, path)
    return our_header(metadata, shapes, path)


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Name the file in what the system says about it.

    Raises:
        CheckpointError: the file is a folder, or the system cannot open it.
    """
    if path.is_dir():
        raise CheckpointError(f"checkpoint {path}: is a folder")
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror or error}") from error


@contextmanager
def opened_safetensors(path: Path, *, framework: str) -> Generator[Any]:
    """Open a file of safetensors; None where it is another kind of file, by its name too.

    Yields:
        The file, or None.

    Raises:
        CheckpointError: by its name it is one, and it is damaged.
    """
    is_open = False
    try:
        with safe_open(path, framework=framework) as file:
            is_open = True
            yield file
    except SafetensorError as error:
        if is_open or path.suffix == ".safetensors":
            raise CheckpointError(
                f"checkpoint {path}: no readable safetensors file: {error}"
            ) from error
        yield None


def read_metadata(file: Any) -> Mapping[str, str]:  # noqa: ANN401 -- safetensors has no types
    """Read the texts of an open file's header."""
    return cast("dict[str, str] | None", file.metadata()) or {}


def read_shapes(file: Any, path: Path) -> dict[str, tuple[int, ...]]:  # noqa: ANN401
    """Read the shapes of an open file's tensors.

    Raises:
        CheckpointError: there are more than any model has.
    """
    names = cast("list[str]", file.keys())
    if len(names) > MAX_TENSORS:
        raise CheckpointError(f"checkpoint {path}: {len(names)} tensors, limit {MAX_TENSORS}")
    return {name: tuple(cast("list[int]", file.get_slice(name).get_shape())) for name in names}


def our_header(metadata: Mapping[str, str], shapes: Shapes, path: Path) -> Header | None:
    """Understand the header of a file in our format; None where it has another one.

    Raises:
        CheckpointError: the header cannot be used, or the weights do not fit it.
    """
    file_format = metadata.get("format", "")
    if not file_format.startswith(_ANY_FORMAT):
        return None
    if file_format != FORMAT:
        raise CheckpointError(
            f"checkpoint {path}: format {file_format}, this version reads {FORMAT}"
        )
    with unusable_header(path):
        config = config_from_dict(json.loads(metadata["config"]))
        categories = tuple(_category(described) for described in json.loads(metadata["categories"]))
        check_categories(config, categories)
    check_predictors(config, shapes, path)
    return Header(config, categories)


@contextmanager
def unusable_header(path: Path) -> Generator[None]:
    """Say of any error in the block that the header of this file is why.

    Raises:
        CheckpointError: the block raised an error.
    """
    try:
        yield
    except RecursionError as error:
        raise CheckpointError(
            f"checkpoint {path}: its header cannot be used: it is nested too deeply"
        ) from error
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path}: its header cannot be used: {error}") from error


def check_predictors(config: ModelConfig, shapes: Shapes, path: Path) -> None:
    """Check the head's last convolutions, whose shapes follow from the configuration alone.

    Raises:
        CheckpointError: one of them is missing, or has another shape.
    """
    kernel = (config.backbone.fpn_channels, 3, 3)
    wanted = {
        CLASS_LOGITS: (config.num_classes, *kernel),
        "head.regression_head.bbox_reg.weight": (4, *kernel),
        f"head.{config.head.centerness_on}_head.bbox_ctrness.weight": (1, *kernel),
    }
    for name, expected in wanted.items():
        if name not in shapes:
            raise CheckpointError(f"checkpoint {path}: lacks {name}")
        check_shape(name, shapes[name], expected, path)


def check_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...], path: Path) -> None:
    """Check the shape of one tensor.

    Raises:
        CheckpointError: it is another one.
    """
    if shape != expected:
        raise CheckpointError(f"checkpoint {path}: {name} has shape {shape}, must be {expected}")


def _category(described: Mapping[str, object]) -> Category:
    number, name = described["id"], described["name"]
    if type(number) is not int or not isinstance(name, str):
        raise TypeError(f"category id {number!r}, name {name!r}: must be an integer and a text")
    return Category(id=number, name=name)
