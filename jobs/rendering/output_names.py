"""Names the drawing of each source: its folders are repeated below the output folder.

Two sources never share a name, and no name leads out of the output folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from jobs.media.extensions import is_image_name, is_video_name
from jobs.storage import is_local, local_path
from jobs.storage.local_uri import utf8_name
from jobs.storage.member_uri import as_path

CONTACT_SHEET = "contact-sheet.jpg"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST_PART_BYTES = 180
"""With a hash and an extension, a name stays within the 255 bytes of most file systems."""

_HASH_DIGITS = 8


def output_names(suffixes: Mapping[str, str]) -> dict[str, str]:
    """Name each drawing after the path of its source below the longest common folder.

    Where two sources would share a name, also on a file system that ignores case, or the file of
    one would be the folder of another, both get a hash of their uris. The names depend on all
    sources, so they are the same when only some sources are drawn. Both mappings are by the uri of
    the source; a suffix is the ending of the drawing's name.
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
    """Return the first source that a drawing below ``out`` would replace; None if there is none."""
    if not is_local(out):
        drawings = {f"{out.rstrip('/')}/{name}" for name in names.values()}
        return next((uri for uri in sources if uri in drawings), None)
    if not os.path.isdir(local_path(out)):  # noqa: PTH112 -- no need of a Path
        return None
    root = os.path.realpath(local_path(out))
    drawings = {os.path.realpath(f"{root}/{name}") for name in names.values()}
    local = filter(is_local, sources)
    return next((uri for uri in local if os.path.realpath(local_path(uri)) in drawings), None)


def _parts(uri: str) -> list[str]:
    """Split a uri into safe names of its folders, and of its file without the extension.

    Of a path that is not UTF-8, only the parts with such bytes are escaped, as its uri has them:
    the folders above are called as in the uris of the files beside it.
    """
    path = as_path(uri)
    if is_local(uri):
        path = "/".join(map(utf8_name, local_path(path).split("/")))
    else:
        path = _SCHEME.sub("", path, count=1)
    *folders, file = [part for part in path.split("/") if part not in {"", ".", ".."}] or ["_"]
    return [_safe(part) for part in (*folders, _stem(file))]


def _num_common(paths: Sequence[Sequence[str]]) -> int:
    """Count the folders that all paths begin with."""
    if not paths:
        return 0
    tuples = [tuple(path) for path in paths]
    first, last = min(tuples), max(tuples)  # what these two share, all between them share
    both = zip(first, last, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))


def _safe(part: str) -> str:
    shown = "".join(c if c.isprintable() and c != "\\" else "_" for c in part)
    encoded = shown.encode()
    is_ours = shown.casefold() == CONTACT_SHEET
    if len(encoded) <= _LONGEST_PART_BYTES and shown == part and not is_ours:
        return shown
    # A changed name might equal another one: the hash keeps them apart.
    digest = hashlib.sha256(part.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{encoded[:_LONGEST_PART_BYTES].decode(errors='ignore')}-{digest}"


def _stem(name: str) -> str:
    if is_image_name(name) or is_video_name(name):
        return name.rpartition(".")[0] or name
    return name


def _folders(path: Sequence[str]) -> list[str]:
    return ["/".join(path[:depth]) for depth in range(1, len(path) + 1)]
