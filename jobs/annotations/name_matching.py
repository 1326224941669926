"""Finds what names in an annotation file stand for: a name is the end of a uri, in whole parts.

Names are compared as they are written. Only where that finds none, they are compared in Unicode's
form NFC: macOS writes ``é`` as two characters (NFD), most other programs as one.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from jobs.storage import local_path
from jobs.storage.member_uri import member_path

MAX_EXAMPLES = 3


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")


def _unescaped(name: str) -> str:
    return unquote(name)


def _with_both(name: str) -> str:
    return _unescaped(_with_slashes(name))


OTHER_SPELLINGS: dict[str, Callable[[str], str]] = {
    "\\ in {key} is replaced by /": _with_slashes,
    "%-escapes in {key} are resolved": _unescaped,
    "\\ in {key} is replaced by / and %-escapes are resolved": _with_both,
}
"""What other programs do to names, which ``key`` holds; only ever a hint, since a file may be
called like this."""


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
    parts = posixpath.normpath(local_path(name)).split("/")
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
    alike = _same_in_nfc(uris, found, num_entries)
    found = [names or alike.get(uri, []) for uri, names in zip(uris, found, strict=True)]
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


def in_nfc(name: str) -> str:
    """Compose characters that are written in parts, as macOS writes them."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _same_in_nfc(
    uris: Sequence[str], found: Sequence[Sequence[str]], num_entries: Mapping[str, int]
) -> dict[str, list[str]]:
    """Match the uris that no suffix matches as it is written, by the same text in NFC.

    A suffix that equals two of the file's in NFC is given twice, and so is ambiguous.
    """
    left = [uri for uri, names in zip(uris, found, strict=True) if not names]
    composed: defaultdict[str, list[str]] = defaultdict(list)
    for suffix in num_entries if left else ():
        composed[in_nfc(suffix)].append(suffix)
    depth = max((suffix.count("/") for suffix in composed), default=0)
    return {
        uri: [suffix for name in names for suffix in composed[name]]
        for uri in left
        if (names := _matching(in_nfc(local_path(uri)), composed.keys(), depth))
    }


def _matching(uri: str, suffixes: Container[str], depth: int) -> list[str]:
    """List the suffixes that a uri ends with, the longest last.

    A uri that can name a member of an archive is also read as the name of a plain file.
    """
    member = member_path(uri)
    found = _ends(local_path(uri), suffixes, depth)
    if member is not None:
        both = {*found, *_ends("/" + posixpath.normpath(member), suffixes, depth)}
        found = sorted(both, key=len)
    return found


def _ends(path: str, suffixes: Container[str], depth: int) -> list[str]:
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


def explain_matches(uri: str, whole: str, key: str, matches: Matches, names: Iterable[str]) -> str:
    """Say what ``explain`` does, and in which other spelling the file's ``names`` would match."""
    unmatched, ambiguous = map(Examples.of, (matches.unmatched, matches.ambiguous))
    hint = _hint(matches.unmatched, list(names), key) if matches.unmatched else None
    return explain(uri, whole, key, unmatched, ambiguous, hint=hint)


def _hint(uris: Sequence[str], names: Sequence[str], key: str) -> str | None:
    for spelling, spell in OTHER_SPELLINGS.items():
        suffixes = {suffix_of(spell(name)) for name in names if spell(name) != name}
        depth = max((suffix.count("/") for suffix in suffixes), default=0)
        count = sum(1 for uri in uris if _matching(uri, suffixes, depth))
        if count:
            match = "it matches" if len(uris) == 1 else f"{_part(count, len(uris))} match"
            return f"{match} when {spelling.format(key=key)}"
    return None


def explain(
    uri: str,
    whole: str,
    key: str,
    unmatched: Examples,
    ambiguous: Examples,
    *,
    hint: str | None = None,
) -> str:
    """Say in one line what of a run's ``whole`` (``3 videos``) matches no entry, or several."""
    parts: list[str] = []
    if unmatched.count:
        has = "has no entry with its" if unmatched.count == 1 else "have no entry with their"
        parts.append(f"{unmatched.count} {has} {key}, {unmatched}")
    if hint is not None:
        parts.append(hint)
    if ambiguous.count:
        is_one = ambiguous.count == 1
        share = "shares an entry or matches" if is_one else "share an entry or match"
        parts.append(f"{ambiguous.count} {share} several by {key}, {ambiguous}")
    return f"{uri}: of the run's {whole}, {'; '.join(parts)}"


def _part(count: int, whole: int) -> str:
    return f"all {whole}" if count == whole else f"{count} of these {whole}"
