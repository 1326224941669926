"""Settings from a YAML or TOML file and from options; options win, no key is silently ignored."""

from __future__ import annotations

import difflib
import re
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from fcos_core.errors import ConfigError, StorageError
from jobs.cli.options import option_name
from jobs.storage import absolute, storage_for

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Settings = TypeVar("Settings", bound=BaseModel)

_YAML_SUFFIXES = {".yaml", ".yml", ".json"}  # JSON is YAML written with braces
_LEAST_LIKENESS = 0.5


def load_settings(model: type[Settings], file: str | None, options: Mapping[str, Any]) -> Settings:
    """Build a command's settings, checked.

    Args:
        model: the command's settings class.
        file: path or URI of a YAML or TOML file with settings as keys, or None.
        options: values from the command line by setting; None where the option is not given.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value is not allowed.
    """
    given = {name: value for name, value in options.items() if value is not None}
    in_file, lines = ({}, {}) if file is None else _read(file)
    for key in in_file:
        if key not in model.model_fields:
            place = f"{file}:{lines[key]}" if key in lines else str(file)
            raise ConfigError(f"{place}: unknown key {key!r}; {_suggest(key, model)}")
    try:
        return model(**{**in_file, **given})
    except ValidationError as error:
        in_lines = {key: f"{file}:{lines[key]}: {key}" for key in in_file if key in lines}
        places = in_lines | {name: option_name(model, name) for name in given}
        raise ConfigError(_explain(error, model, places)) from error


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
        raise ConfigError(f"config file {file}: holds a {kind}, must hold keys with values")
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
    model: type[BaseModel],
    places: Mapping[str, str],
) -> str:
    """Write all problems on one line: the missing settings, then each wrong value."""
    missing: list[str] = []
    wrong: dict[str, list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False):
        name, *inner = problem["loc"] or ("",)
        place = places.get(str(name), str(name))
        if problem["type"] == "missing" and not inner:
            missing.append(option_name(model, str(name)))
        else:  # a union of types has one problem per type, all about the same value
            place += "".join(f"[{part}]" for part in inner if isinstance(part, int))
            wrong.setdefault(place, []).append(problem)
    parts = [_wrong_value(place, problems) for place, problems in wrong.items()]
    return _one_line("; ".join([*_missing(missing), *parts]))


def _missing(options: Sequence[str]) -> list[str]:
    if len(options) > 1:
        return [f"{', '.join(options[:-1])} and {options[-1]} are missing"]
    return [f"{option} is missing" for option in options]


def _wrong_value(place: str, problems: Sequence[ErrorDetails]) -> str:
    """Write where a value was given, what it must be, and what it is.

    ``place`` is empty where settings contradict each other. A setting of several types has a
    problem for each of them.
    """
    reason = ", or ".join(dict.fromkeys(_reason(problem) for problem in problems))
    reason = reason.replace(", or must be ", ", or ")
    return f"{place}: {reason}, not {reprlib.repr(problems[0]['input'])}" if place else reason


def _reason(problem: ErrorDetails) -> str:
    template = _REASONS.get(problem["type"])
    if template is None:
        return problem["msg"].removeprefix("Value error, ")
    limits = problem.get("ctx", {})
    whole = {name: int(n) for name, n in limits.items() if isinstance(n, float) and n.is_integer()}
    return template.format(**{**limits, **whole})


_WHOLE_NUMBER = "must be a whole number"
_NUMBER = "must be a number"
_BOOL = "must be true or false"
_REASONS = {
    "int_parsing": _WHOLE_NUMBER,
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "bool_parsing": _BOOL,
    "bool_type": _BOOL,
    "string_type": "must be text",
    "string_too_short": "must have {min_length} or more characters",
    "tuple_type": "must be a list",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have at most {max_length} items",
    "missing": "must be given",
    "literal_error": "must be {expected}",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
}


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
