"""How a uri names one image of an archive: ``<archive>.tar#<member>``, ``<table>.parquet#<row>``.

Before a row may stand the column that was asked for: ``<table>.parquet#<column>#<row>``.
A ``#`` may also be part of a file's or a folder's name. So a uri can be read in several ways, or
can name a plain file, and only the storage knows which is right. This module knows the spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from jobs.storage.local_uri import escaped_part, plain_part

ContainerKind = Literal["tar", "parquet"]

_KINDS: dict[str, ContainerKind] = {
    "tar": "tar",
    "parquet": "parquet",
    # A compressed archive is refused when it is opened, with the reason.
    **dict.fromkeys(("tar.gz", "tgz", "tar.bz2", "tbz", "tbz2"), "tar"),
    **dict.fromkeys(("tar.xz", "txz", "tar.zst", "tzst", "tar.lz4"), "tar"),
}
"""By a container's extension, in lower case."""

_ENDING = rf"\.(?P<extension>{'|'.join(map(re.escape, _KINDS))})"
_CONTAINER_NAME = re.compile(rf"{_ENDING}\Z", re.IGNORECASE)
_SEPARATOR = re.compile(rf"{_ENDING}#", re.IGNORECASE)


class MemberUri(NamedTuple):
    """One way to read a uri; a member is a file in an archive, or a row, counted from 0."""

    container: str
    kind: ContainerKind
    member: str


def container_kind(uri: str) -> ContainerKind | None:
    """Tell by its extension whether a file holds images; None for every other file."""
    match = _CONTAINER_NAME.search(uri)
    return None if match is None else _KINDS[match["extension"].lower()]


def member_uri(container: str, member: str | int) -> str:
    """Name a member of an archive or a row of a table."""
    return f"{container}#{escaped_part(container, str(member))}"


def split_member(uri: str) -> Iterator[MemberUri]:
    """Read a uri in all ways in which it can name a member.

    Yields:
        Each way, the shortest container first; nothing for a uri that can only name a file.
    """
    for match in _SEPARATOR.finditer(uri):
        kind = _KINDS[match["extension"].lower()]
        yield MemberUri(uri[: match.end() - 1], kind, plain_part(uri, uri[match.end() :]))


def member_path(uri: str) -> str | None:
    """Give the path of an image inside the last tar archive that its uri can name, by the spelling.

    None outside of archives, and for a row of a table: its number says nothing about where the
    image came from.
    """
    if "#" not in uri:  # saves the search for most of a million uris
        return None
    members = [found.member for found in split_member(uri) if found.kind == "tar"]
    return members[-1] if members else None


def as_path(uri: str) -> str:
    """Spell a uri as a path in which each container is a folder."""
    return _SEPARATOR.sub(r".\g<extension>/", uri)
