"""Where the drawing of each source goes: the sources' folders again, below another one.

Two sources never share a name, and no name leads out of the folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from jobs.media.extensions import is_image_name, is_video_name
from jobs.storage.member_uri import as_path

CONTACT_SHEET = "contact-sheet.jpg"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST_PART_BYTES = 180
"""With a hash and an extension, a name stays within the 255 bytes of most file systems."""

_HASH_DIGITS = 8


def output_names(suffixes: Mapping[str, str]) -> dict[str, str]:
    """Name a drawing after the path of its source below the longest folder that all have in common.

    Where two sources would share a name, also in a file system that knows no capital letters, or
    one's file would be another's folder, both get a hash of their uris. A name depends on all
    sources, so it is the same however few of them are drawn.

    Args:
        suffixes: what each drawing's name ends in, by the uri of its source.

    Returns:
        A relative path by uri.
    """
    parts = {uri: _parts(uri) for uri in suffixes}
    skipped = _num_common([path[:-1] for path in parts.values()])
    stems = {uri: "/".join(path[skipped:]) for uri, path in parts.items()}
    folders = {
        folder.casefold() for path in parts.values() for folder in _folders(path[skipped:-1])
    }
    taken = Counter(f"{stems[uri]}{suffix}".casefold() for uri, suffix in suffixes.items())
    taken[CONTACT_SHEET] += 1
    names: dict[str, str] = {}
    for uri, suffix in suffixes.items():
        name = f"{stems[uri]}{suffix}"
        digest = hashlib.sha256(uri.encode(errors="surrogatepass")).hexdigest()
        for digits in (_HASH_DIGITS, len(digest)):
            if taken[name.casefold()] <= 1 and name.casefold() not in folders:
                break
            name = f"{stems[uri]}-{digest[:digits]}{suffix}"
            taken[name.casefold()] += 1
        names[uri] = name
    return names


def overwritten(names: Mapping[str, str], out: str, sources: Iterable[str]) -> str | None:
    """Find a source that would be replaced by a drawing.

    Args:
        names: relative paths of the drawings.
        out: uri of the folder they go to.
        sources: uris that must stay as they are.
    """
    if _SCHEME.match(out):
        drawings = {f"{out.rstrip('/')}/{name}" for name in names.values()}
        return next((uri for uri in sources if uri in drawings), None)
    if not os.path.isdir(out):  # noqa: PTH112 -- no need of a Path
        return None
    root = os.path.realpath(out)
    drawings = {os.path.realpath(f"{root}/{name}") for name in names.values()}
    local = (uri for uri in sources if not _SCHEME.match(uri))
    return next((uri for uri in local if os.path.realpath(uri) in drawings), None)


def _parts(uri: str) -> list[str]:
    """Cut a uri into safe names of folders, and of the file without its extension."""
    path = as_path(_SCHEME.sub("", uri, count=1))
    *folders, file = [part for part in path.split("/") if part not in {"", ".", ".."}] or ["_"]
    return [_safe(part) for part in (*folders, _stem(file))]


def _num_common(paths: Sequence[Sequence[str]]) -> int:
    """How many folders all paths begin with."""
    if not paths:
        return 0
    tuples = [tuple(path) for path in paths]
    first, last = min(tuples), max(tuples)  # whatever these two share, all between them share
    both = zip(first, last, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))


def _safe(part: str) -> str:
    shown = "".join(c if c.isprintable() and c != "\\" else "_" for c in part)
    encoded = shown.encode()
    is_ours = shown.casefold() == CONTACT_SHEET
    if len(encoded) <= _LONGEST_PART_BYTES and shown == part and not is_ours:
        return shown
    # What was changed might now be like another name: the hash tells them apart.
    digest = hashlib.sha256(part.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{encoded[:_LONGEST_PART_BYTES].decode(errors='ignore')}-{digest}"


def _stem(name: str) -> str:
    if is_image_name(name) or is_video_name(name):
        return name.rpartition(".")[0] or name
    return name


def _folders(path: Sequence[str]) -> list[str]:
    return ["/".join(path[:depth]) for depth in range(1, len(path) + 1)]
