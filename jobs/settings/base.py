"""The base of all settings classes, and how a setting says where a user gives it.

A setting marked :class:`Argument` or :class:`Option` is on the command line, which
``jobs.cli.options`` makes from the classes. A setting without a mark, one that is rarely changed,
is only in the config file. ``Field(description=...)`` is the text of ``--help``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError


@dataclass(frozen=True)
class Argument:
    """Marks a setting that is given by its position; ``metavar`` stands for it in ``--help``."""

    metavar: str


@dataclass(frozen=True)
class Option:
    """Marks a setting that is an option of the command line; for a ``bool``, a flag.

    Attributes:
        metavar: word that stands for the value in ``--help``; by default the choices.
        default: text of the default in ``--help``, where the value itself would not explain it.
        name: name of the option; by default the setting's, with hyphens.
    """

    metavar: str | None = None
    default: str | None = None
    name: str | None = None


class JobSettings(BaseModel):
    """Settings that are checked when they are built, before any work, and never change.

    The checks are prepared at the first use (``defer_build``), because ``--help`` needs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _in_utf8(cls, values: Any) -> Any:  # noqa: ANN401 -- whatever the caller gives
        """Name paths that are no UTF-8 by their uris; pydantic takes no other text."""
        if not isinstance(values, Mapping):
            return values
        given = cast("Mapping[str, object]", values)
        return {name: _utf8(value) for name, value in given.items()}

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        """Refuse ``limit: yes``, which pydantic takes for 1.

        Raises:
            PydanticKnownError: a truth value stands where a number must.
        """
        types = _types(cls.model_fields[str(info.field_name)].annotation)
        if bool not in types and _has_truth(value):
            if int in types:
                raise PydanticKnownError("int_type")
            if float in types:
                raise PydanticKnownError("float_type")
        return value


def _types(annotation: object) -> set[object]:
    """Find all types in an annotation, at any depth."""
    inner = get_args(annotation)
    return set[object]().union(*map(_types, inner)) if inner else {annotation}


def _has_truth(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_truth, cast("Sequence[object]", value)))
    return isinstance(value, bool)


def _utf8(value: object) -> object:
    if isinstance(value, str):
        return value if value.isascii() else _utf8_text(value)
    if isinstance(value, list | tuple):
        return [_utf8(own) for own in cast("Sequence[object]", value)]
    return value


def _utf8_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        from jobs.storage import absolute  # not for `fcos --help`

        return absolute(text)
    return text


def mark_of(field: FieldInfo) -> Argument | Option | None:
    """Return how the command line takes a setting; None where only a config file does."""
    return next((mark for mark in field.metadata if isinstance(mark, Argument | Option)), None)


RunArgument = Annotated[str, Argument("RUN"), Field(description="directory of a run")]

Address = Annotated[
    str | None,
    Option("RAY", default="this machine"),
    Field(description="address of a running Ray cluster"),
]

NumActors = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto"],
    Option("N"),
    Field(description="number of workers; auto: one per GPU, or as many as the cores allow"),
]

NumProcesses = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto"],
    Option("N"),
    Field(description="number of processes; 1 needs no Ray; auto: several for large inputs"),
]
