"""How a local path is named in UTF-8: by itself, or by a ``file://`` uri where it is no UTF-8.

A file name is any bytes; tables, pages and JSON hold UTF-8. A path is absolute, so that no path is
equal to such a uri: ``file:///photos/caf%E9.jpg`` names one file only, whatever others are called,
and a user may give it back to any command. Python holds the bytes of a path that are no UTF-8 as
lone surrogates; they are in no uri.
"""

import os
from urllib.parse import quote, unquote, unquote_to_bytes

FILE_SCHEME = "file://"

_KEPT = "/#*?[]"  # what splits a path, names a member, makes a pattern


def local_uri(path: str) -> str:
    """Name an absolute path; one in UTF-8 is its own uri."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return FILE_SCHEME + quote(_bytes_of(path), safe=_KEPT)
    return path


def local_path(uri: str) -> str:
    """Return the path of a local uri; every other uri is returned as it is."""
    if not uri.startswith(FILE_SCHEME):
        return uri
    return os.fsdecode(unquote_to_bytes(uri.removeprefix(FILE_SCHEME)))


def is_local(uri: str) -> bool:
    """Say whether a uri names a path of this machine."""
    return "://" not in uri or uri.startswith(FILE_SCHEME)


def escaped_part(uri: str, part: str) -> str:
    """Spell text that follows a uri as that uri is spelled."""
    return quote(part, safe=_KEPT) if uri.startswith(FILE_SCHEME) else part


def plain_part(uri: str, part: str) -> str:
    """Undo ``escaped_part``."""
    return unquote(part) if uri.startswith(FILE_SCHEME) else part


def utf8_name(name: str) -> str:
    """Spell a name inside an archive in UTF-8, its other bytes and ``%`` by percent signs.

    A name in UTF-8 is left alone, so a name and the spelling of another may be equal.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        escaped = (
            quote(_bytes_of(char)) if "\udc80" <= char <= "\udcff" or char == "%" else char
            for char in name
        )
        return "".join(escaped).encode(errors="backslashreplace").decode()
    return name


def _bytes_of(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # surrogates that stand for no byte: no file has this name
        return path.encode(errors="surrogatepass")
