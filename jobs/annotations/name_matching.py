"""Finds what names in an annotation file stand for: a name is the end of a uri, in whole parts."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from jobs.storage.member_uri import member_path

MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Examples:
    """The number of things that are wrong, and the names of the first few."""

    count: int
    examples: Sequence[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> Examples:
        """Count all names and keep the first few."""
        return cls(len(names), names[:MAX_EXAMPLES])

    def __str__(self) -> str:
        """List the kept names."""
        return f"such as {', '.join(self.examples)}"


@dataclass(frozen=True)
class Matches:
    """What the uris of a run were found to be called.

    Attributes:
        suffixes: the suffix that is each uri's name; valid only when the others are empty.
        unmatched: uris that end with no name.
        ambiguous: uris that share a name with another, or could have several.
    """

    suffixes: list[str]
    unmatched: list[str]
    ambiguous: list[str]


def suffix_of(name: str) -> str:
    """Reduce a name to what can be the end of a uri: ``../a//b.jpg`` to ``a/b.jpg``."""
    parts = posixpath.normpath(name).split("/")
    while parts[0] in {"", ".", ".."} and len(parts) > 1:
        parts.pop(0)
    return "/".join(parts)


def match_suffixes(uris: Sequence[str], num_entries: Mapping[str, int]) -> Matches:
    """Find the one suffix that each uri ends with; no uri is given twice.

    ``b/c.jpg`` beats ``c.jpg`` for ``/a/b/c.jpg``, but only when ``c.jpg`` is another one's name:
    otherwise it could as well have been meant for this one. A suffix of several entries is
    ambiguous.
    """
    depth = max((suffix.count("/") for suffix in num_entries), default=0)
    found = [_matching(uri, num_entries.keys(), depth) for uri in uris]
    claims = Counter(names[-1] for names in found if names)
    ambiguous = [
        uri
        for uri, names in zip(uris, found, strict=True)
        if names and not _is_clear(names, claims, num_entries[names[-1]])
    ]
    return Matches(
        suffixes=[names[-1] if names else "" for names in found],
        unmatched=[uri for uri, names in zip(uris, found, strict=True) if not names],
        ambiguous=ambiguous,
    )


def _matching(uri: str, suffixes: Container[str], depth: int) -> list[str]:
    """List the suffixes that a uri ends with, the longest last."""
    member = member_path(uri)
    path = uri if member is None else "/" + posixpath.normpath(member)
    found: list[str] = []
    start = len(path)
    for _ in range(depth + 1):
        start = path.rfind("/", 0, start)
        if start < 0:
            break
        if path[start + 1 :] in suffixes:
            found.append(path[start + 1 :])
    return found


def _is_clear(found: Sequence[str], claims: Counter[str], num_entries: int) -> bool:
    """Whether the longest match is the only one that makes sense."""
    *shorter, longest = found
    return num_entries == 1 and claims[longest] == 1 and all(claims[name] for name in shorter)


def explain(uri: str, whole: str, key: str, unmatched: Examples, ambiguous: Examples) -> str:
    """Say in one line what of a run's ``whole`` (``3 videos``) matches no entry, or several."""
    parts: list[str] = []
    if unmatched.count:
        parts.append(f"{unmatched.count} have no entry with their {key}, {unmatched}")
    if ambiguous.count:
        parts.append(f"{ambiguous.count} share an entry or match several by {key}, {ambiguous}")
    return f"{uri}: of the run's {whole}, {'; '.join(parts)}"
