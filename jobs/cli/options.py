"""The options of a command, made from its settings class, so that each is written once.

An option is None unless it is given: defaults belong to the settings class, and ``--config FILE``
stands between the two. Values stay text here; the settings class checks them.
"""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Annotated, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.settings.base import Argument, mark_of

CONFIG_FILE = "config"
"""Name of the parameter for ``--config FILE``, which is no setting."""

_CONFIG_OPTION = typer.Option(
    f"--{CONFIG_FILE}",
    metavar="FILE",
    help="YAML or TOML file of settings; options on the command line win",
)


def signature_of(settings: type[BaseModel], *, has_config_file: bool) -> Signature:
    """Make the signature from which typer reads a command's options, the required ones first.

    Settings without a mark stay off the command line.
    """
    marked = [item for item in settings.model_fields.items() if mark_of(item[1]) is not None]
    marked.sort(key=lambda item: not item[1].is_required())
    parameters = [_parameter(name, _option(settings, name)) for name, _ in marked]
    if has_config_file:
        parameters.append(_parameter(CONFIG_FILE, Annotated[str | None, _CONFIG_OPTION]))
    return Signature(parameters)


def option_name(settings: type[BaseModel], name: str) -> str:
    """Return how a user writes a setting: on the command line, or else as key of a file."""
    field = settings.model_fields.get(name)
    mark = None if field is None else mark_of(field)
    if mark is None:
        return name
    if isinstance(mark, Argument):
        return mark.metavar
    return mark.name or f"--{name.replace('_', '-')}"


def _parameter(name: str, annotation: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option(settings: type[BaseModel], name: str) -> object:
    field = settings.model_fields[name]
    mark = mark_of(field)
    if isinstance(mark, Argument):
        info = typer.Argument(metavar=mark.metavar, help=_help(field, None), show_default=False)
        return Annotated[_values(field), info]
    assert mark is not None
    info = typer.Option(
        option_name(settings, name),
        metavar=mark.metavar or _choices(field),
        help=_help(field, mark.default),
        show_default=False,
    )
    return Annotated[bool | None if field.annotation is bool else _values(field), info]


def _values(field: FieldInfo) -> object:
    return list[str] | None if get_origin(field.annotation) is tuple else str | None


def _choices(field: FieldInfo) -> str | None:
    is_choice = get_origin(field.annotation) is Literal
    return "|".join(get_args(field.annotation)) if is_choice else None


def _help(field: FieldInfo, default: str | None) -> str:
    """Return the description, and in brackets the default or that there is none."""
    if field.is_required():
        default = "required"
    elif default is None and field.annotation is not bool and field.default not in {None, ()}:
        default = str(field.default)
    return f"{field.description}  [{default}]" if default else str(field.description)
