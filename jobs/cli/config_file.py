"""Settings from a YAML or TOML file and from flags; flags win, and no key is silently ignored."""

from __future__ import annotations

import difflib
import re
import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from fcos_core.errors import ConfigError, StorageError
from jobs.storage import absolute, storage_for

Settings = TypeVar("Settings", bound=BaseModel)

_YAML_SUFFIXES = {".yaml", ".yml", ".json"}  # JSON is YAML written with braces
_LEAST_LIKENESS = 0.5
_ARGUMENTS = {"inputs": "INPUT", "run": "RUN"}  # on the command line without a flag


def load_settings(model: type[Settings], file: str | None, flags: Mapping[str, Any]) -> Settings:
    """Build a command's settings.

    Args:
        model: the job's settings class.
        file: a YAML or TOML file with the class's field names as keys, or None.
        flags: what the command line says, by field name; None means not given.

    Returns:
        The checked settings.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value is not as it must be.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    in_file, lines = ({}, {}) if file is None else _read(file)
    for key in in_file:
        if key not in model.model_fields:
            place = f"{file}:{lines[key]}" if key in lines else str(file)
            raise ConfigError(f"{place}: unknown key {key!r}; {_suggest(key, model)}")
    try:
        return model(**{**in_file, **given})
    except ValidationError as error:
        raise ConfigError(_explain(error, file, lines, given)) from error


def _read(file: str) -> tuple[dict[str, Any], dict[str, int]]:
    uri = absolute(file)
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix != ".toml" and suffix not in _YAML_SUFFIXES:
        raise ConfigError(f"config file {file}: the name must end in .yaml, .yml or .toml")
    try:
        text = storage_for(uri).read(uri).decode("utf-8-sig")
    except StorageError as error:
        raise ConfigError(f"config file: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {file}: is not UTF-8 text: {error}") from error
    return _parse_toml(file, text) if suffix == ".toml" else _parse_yaml(file, text)


def _parse_toml(file: str, text: str) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config file {file}: {_one_line(error)}") from error
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = re.match(r"""\s*\[?\s*["']?([\w-]+)["']?\s*[=.\]]""", line)
        if match is not None and match[1] in document:
            lines.setdefault(match[1], number)
    return document, lines


def _parse_yaml(file: str, text: str) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        root = cast("yaml.Node | None", _compose(text))
        document: object = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"config file {file}: {_one_line(error)}") from error
    if root is None:
        return {}, {}
    if not isinstance(root, yaml.MappingNode) or not isinstance(document, dict):
        kind = type(document).__name__
        raise ConfigError(f"config file {file}: holds a {kind}, expected keys with values")
    lines: dict[str, int] = {}
    pairs = cast("list[tuple[yaml.Node, yaml.Node]]", root.value)
    for key_node, _ in pairs:
        key, number = str(key_node.value), key_node.start_mark.line + 1
        if key in lines:  # YAML readers quietly keep the last one
            raise ConfigError(f"{file}:{number}: key {key!r} is also on line {lines[key]}")
        lines[key] = number
    named = cast("dict[object, Any]", document)
    return {str(key): value for key, value in named.items()}, lines


def _compose(text: str) -> object:
    # The stubs leave the type of ``stream`` open.
    compose = cast("Any", yaml.compose)  # pyright: ignore[reportUnknownMemberType]
    return compose(text, Loader=yaml.SafeLoader)


def _suggest(key: str, model: type[BaseModel]) -> str:
    known = sorted(model.model_fields)
    spelled = key.replace("-", "_").lower()
    nearest = difflib.get_close_matches(spelled, known, n=1, cutoff=_LEAST_LIKENESS)
    return f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}"


def _explain(
    error: ValidationError,
    file: str | None,
    lines: Mapping[str, int],
    flags: Mapping[str, Any],
) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    # A union of types has one problem per type, all about the same value.
    same = [problem for problem in problems if problem["loc"][:1] == first["loc"][:1]]
    more = f" (and {len(problems) - len(same)} more)" if len(problems) > len(same) else ""
    option = _ARGUMENTS.get(name, f"--{name.replace('_', '-')}")
    if first["type"] == "missing":
        return f"{option} is missing{more}"
    if name in flags:
        place = option
    elif name in lines:
        place = f"{file}:{lines[name]}: {name}"
    else:
        place = name
    reason = ", or ".join(problem["msg"].removeprefix("Value error, ") for problem in same)
    inner = "".join(f" at {part}" for part in first["loc"][1:] if isinstance(part, int))
    value = f", not {reprlib.repr(first['input'])}" if name else ""
    return _one_line(f"{place}{inner}: {reason}{value}{more}".removeprefix(": "))


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
