"""Settings from a YAML or TOML file and from options; options win, no key is silently ignored."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from fcos_core.errors import ConfigError, StorageError
from jobs.cli.config_text import MAX_BYTES, ConfigText, ConfigTextError, parse
from jobs.cli.options import option_name
from jobs.storage import absolute, storage_for

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Settings = TypeVar("Settings", bound=BaseModel)

_LANGUAGES: dict[str, Literal["YAML", "TOML"]] = {
    ".yaml": "YAML",
    ".yml": "YAML",
    ".json": "YAML",  # JSON is YAML written with braces
    ".toml": "TOML",
}
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
    in_file, lines = ConfigText({}, {}) if file is None else _read(file)
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


def _read(file: str) -> ConfigText:
    uri = absolute(file)
    suffix = PurePosixPath(uri).suffix.lower()
    language = _LANGUAGES.get(suffix)
    if language is None:
        raise ConfigError(f"config file {file}: the name must end in .yaml, .yml or .toml")
    try:
        text = storage_for(uri).read(uri, max_bytes=MAX_BYTES).decode("utf-8-sig")
        return parse(text, language)
    except StorageError as error:
        raise ConfigError(f"config file: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {file}: is not UTF-8 text: {error}") from error
    except ConfigTextError as error:
        place = f"config file {file}" if error.line is None else f"{file}:{error.line}"
        raise ConfigError(f"{place}: {error}") from error


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
