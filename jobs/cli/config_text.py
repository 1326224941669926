"""Text of a YAML or TOML file to keys and values, whatever it holds, in bounded time and memory.

A file of some kilobytes can ask a parser for hours: by aliases of aliases, by merged keys, by
brackets in brackets, by a TOML key of many dots. No setting needs more than lists in a list.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Literal, NamedTuple, cast

import yaml

MAX_BYTES = 1 << 20
"""The largest config file."""

_MAX_DEPTH = 16
_MAX_VALUES = 1 << 20  # with every alias replaced by what it names
_TOO_DEEP = f"it is nested more than {_MAX_DEPTH} levels deep"

# What may hold dots or brackets that nest nothing. TOML ends a string of one line at the line.
_TOML_STRING_OR_COMMENT = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' r"'''.*?'''|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'|" r"#[^\n]*",
    re.DOTALL,
)
_TOML_DEEP_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{_MAX_DEPTH}}}")


class ConfigTextError(Exception):
    """The text is no YAML or TOML with keys, or asks for too much; the message is one line.

    ``line`` counts from 1; None where the message is about the whole text or has the place in it.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class ConfigText(NamedTuple):
    """The settings that a file holds, and the line of each key, from 1, where it is known."""

    values: dict[str, Any]
    lines: dict[str, int]


def parse(text: str, language: Literal["YAML", "TOML"]) -> ConfigText:
    """Read the keys and values of a file's text.

    Raises:
        ConfigTextError: it cannot be used.
    """
    try:
        return _parse_toml(text) if language == "TOML" else _parse_yaml(text)
    except RecursionError as error:
        raise ConfigTextError(_TOO_DEEP) from error
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist, an endless number
        raise ConfigTextError(" ".join(str(error).split())) from error


def _parse_toml(text: str) -> ConfigText:
    # tomllib's time and memory grow with the square of the parts of a key.
    if _TOML_DEEP_KEY.search(_TOML_STRING_OR_COMMENT.sub("x", text)):
        raise ConfigTextError(_TOO_DEEP)
    document = tomllib.loads(text)
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        match = re.match(r"""\s*\[?\s*["']?([\w-]+)["']?\s*[=.\]]""", line)
        if match is not None and match[1] in document:
            lines.setdefault(match[1], number)
    return ConfigText(document, lines)


class _Loader(yaml.SafeLoader):
    """Refuses brackets in brackets before it has read all of them."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ConfigTextError(_TOO_DEEP)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _parse_yaml(text: str) -> ConfigText:
    loader: Any = _Loader(text)  # the stubs leave its methods open
    try:
        root: yaml.Node | None = loader.get_single_node()
        if root is None:
            return ConfigText({}, {})
        _check_size(root)
        document: object = loader.construct_document(root)
    finally:
        loader.dispose()
    if not isinstance(root, yaml.MappingNode) or not isinstance(document, dict):
        raise ConfigTextError(f"holds a {type(document).__name__}, must hold keys with values")
    lines: dict[str, int] = {}
    for key_node, _ in cast("list[tuple[yaml.Node, yaml.Node]]", root.value):
        key, number = str(key_node.value), key_node.start_mark.line + 1
        if key in lines:  # YAML readers quietly keep the last one
            raise ConfigTextError(f"key {key!r} is also on line {lines[key]}", number)
        lines[key] = number
    named = cast("dict[object, Any]", document)
    return ConfigText({str(key): value for key, value in named.items()}, lines)


def _check_size(root: yaml.Node) -> None:
    """Count the values below a node with all aliases followed, each node once.

    Raises:
        ConfigTextError: they are too many, too deep, or without end.
    """
    measured: dict[yaml.Node, tuple[int, int]] = {}
    open_nodes: set[yaml.Node] = set()

    def measure(node: yaml.Node) -> tuple[int, int]:
        if node in open_nodes:
            line = node.start_mark.line + 1
            raise ConfigTextError("an alias stands inside of what it names", line)
        if node not in measured:
            open_nodes.add(node)
            below = [measure(child) for child in _children(node)]
            open_nodes.remove(node)
            size = 1 + sum(size for size, _ in below)
            depth = 1 + max((depth for _, depth in below), default=0)
            if size > _MAX_VALUES:
                raise ConfigTextError(f"its aliases stand for more than {_MAX_VALUES} values")
            if depth > _MAX_DEPTH:
                raise ConfigTextError(_TOO_DEEP)
            measured[node] = size, depth
        return measured[node]

    measure(root)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        return [part for pair in pairs for part in pair]
    return cast("list[yaml.Node]", node.value) if isinstance(node, yaml.SequenceNode) else []
