"""The versions of what turns a file into numbers: decoders, torch and the optional engines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, cast, get_args

from fcos_core.config import EngineName

if TYPE_CHECKING:
    from collections.abc import Collection

_ALWAYS = ("torch", "torchvision", "numpy", "opencv-python-headless", "pillow", "av")
_EXTRAS: tuple[EngineName, ...] = ("openvino",)  # each is also the name of a distribution

Libraries = Mapping[str, str]
"""Versions by the names of distributions."""


def installed_libraries() -> Libraries:
    """Read the versions in this environment, those of installed extras included; imports none."""
    return _versions((*_ALWAYS, *_EXTRAS))


def libraries_of(engine: EngineName, installed: Libraries) -> Libraries:
    """Take the libraries that an engine's numbers depend on."""
    return {name: text for name, text in installed.items() if name in _ALWAYS or name == engine}


def extras(installed: Libraries) -> Collection[EngineName]:
    """The optional engines among the libraries."""
    return [cast("EngineName", n) for n in installed if n in get_args(EngineName)]


def _versions(names: Iterable[str]) -> Libraries:
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
