"""Patterns: ``*``, ``?`` and ``[...]`` within one name, ``**`` for any number of folders."""

import glob
from collections.abc import Sequence
from fnmatch import fnmatchcase

ANY_DEPTH = "**"


def is_pattern(uri: str) -> bool:
    """Say whether a uri that names nothing may be meant as a pattern."""
    return glob.has_magic(uri)


def fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Match a path's parts; ``**`` stands for any number of folders, at the end for anything."""
    if not patterns:
        return not names
    first, rest = patterns[0], patterns[1:]
    if first != ANY_DEPTH:
        return bool(names) and fnmatchcase(names[0], first) and fits(names[1:], rest)
    return not rest or any(fits(names[skip:], rest) for skip in range(len(names)))
