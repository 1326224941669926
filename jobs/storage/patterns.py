"""Patterns: ``*``, ``?`` and ``[...]`` within one name, ``**`` for any number of folders."""

import glob
from collections.abc import Sequence
from fnmatch import fnmatchcase

ANY_DEPTH = "**"


def is_pattern(uri: str) -> bool:
    """Say whether a uri has the special characters of a pattern."""
    return glob.has_magic(uri)


def is_hidden(path: str) -> bool:
    """Say whether a path leads to a hidden file, or through a hidden folder."""
    return "/." in f"/{path}" and any(map(is_hidden_name, path.split("/")))


def is_hidden_name(name: str) -> bool:
    """Say whether a name begins with a dot; ``.`` and ``..``, which lead somewhere, are none."""
    return name.startswith(".") and name not in {".", ".."}


def matches_pattern(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Match the parts of a path; ``**`` is any number of folders, and at the end anything."""
    if not patterns:
        return not names
    first, rest = patterns[0], patterns[1:]
    if first != ANY_DEPTH:
        return bool(names) and fnmatchcase(names[0], first) and matches_pattern(names[1:], rest)
    return not rest or any(matches_pattern(names[skip:], rest) for skip in range(len(names)))
