"""Which annotated image each picture of a run is, and whether both mean the same categories.

By image id when the run's input was this very annotation file; otherwise an entry's ``file_name``
must be the end of the picture's uri, in whole path components. Pictures of the run decide what is
scored: each must have exactly one entry. Entries that the run did not look at are only counted, as
with ``--limit``.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from fcos_core.errors import ConfigError
from jobs.tables.coco_json import CocoCategory, CocoImage

UNUSED_CATEGORY = "N/A"
"""What run.json calls the ids that a head has an output for and nobody a name."""

_MAX_EXAMPLES = 3
_ARCHIVE_MEMBER = re.compile(r"^.*\.(?:tar|tar\.gz|tgz)#(?P<member>.*)$", re.IGNORECASE | re.DOTALL)


class AnnotatedImages(Protocol):
    """What is needed of an annotation file to find a run's pictures in it."""

    @property
    def uri(self) -> str:
        """The file."""
        ...

    @property
    def images(self) -> Sequence[CocoImage]:
        """Its images."""
        ...


@dataclass(frozen=True)
class Join:
    """Pictures of a run and the annotated images they are, in manifest order.

    Attributes:
        image_ids: of the run, unique.
        annotated_ids: the id of the same image in the annotation file, unique.
        by: what they were joined by.
        num_not_in_run: annotated images that the run did not look at.
    """

    image_ids: npt.NDArray[np.int64]
    annotated_ids: npt.NDArray[np.int64]
    by: Literal["image_id", "file_name"]
    num_not_in_run: int


def join_annotations(
    image_ids: Sequence[int],
    uris: Sequence[str],
    annotations: AnnotatedImages,
    *,
    input_annotations: str | None,
) -> Join:
    """Find the annotated image of every picture of a run.

    Args:
        image_ids: of the manifest's items.
        uris: of the same items.
        annotations: the ground truth.
        input_annotations: uri of the COCO file that was the run's input, if it was one.

    Returns:
        The pairs.
    """
    if input_annotations == annotations.uri:
        _require_same_images(image_ids, uris, annotations)
        annotated_ids, by = list(image_ids), "image_id"
    else:
        annotated_ids, by = _join_by_file_name(uris, annotations), "file_name"
    return Join(
        image_ids=np.array(image_ids, np.int64),
        annotated_ids=np.array(annotated_ids, np.int64),
        by=by,
        num_not_in_run=len(annotations.images) - len(annotated_ids),
    )


class AnnotatedCategories(Protocol):
    """What is needed of an annotation file to compare its categories."""

    @property
    def uri(self) -> str:
        """The file."""
        ...

    @property
    def categories(self) -> Sequence[CocoCategory]:
        """Its categories."""
        ...


def require_same_categories(
    run_categories: Mapping[int, str], annotations: AnnotatedCategories
) -> None:
    """Refuse annotations whose category ids mean something else than the run's.

    Args:
        run_categories: names by id, as ``run.json`` has them.
        annotations: the ground truth.

    Raises:
        ConfigError: no id is in both, or one has two names.
    """
    ours = {id_: name for id_, name in run_categories.items() if name != UNUSED_CATEGORY}
    theirs = {category.id: category.name for category in annotations.categories}
    shared = ours.keys() & theirs.keys()
    if not shared:
        raise ConfigError(
            f"{annotations.uri}: none of its category ids is the run's; it has {_some(theirs)}, "
            f"the run has {_some(ours)}"
        )
    differing = {
        id_: f"{id_} is {ours[id_]!r} in the run and {theirs[id_]!r} here"
        for id_ in sorted(shared)
        if _plain(ours[id_]) != _plain(theirs[id_])
    }
    if differing:
        raise ConfigError(
            f"{annotations.uri}: {len(differing)} of {len(shared)} category ids have another name "
            f"than in the run, {_examples(list(differing.values()))}"
        )


def _require_same_images(
    image_ids: Sequence[int], uris: Sequence[str], annotations: AnnotatedImages
) -> None:
    """Refuse a file that was renumbered since the run read it.

    Raises:
        ConfigError: an id is gone or now names another file.
    """
    names = {image.id: posixpath.basename(image.file_name) for image in annotations.images}
    changed = [
        f"{image_id} ({uri!r})"
        for image_id, uri in zip(image_ids, uris, strict=True)
        if names.get(image_id) != posixpath.basename(uri)
    ]
    if changed:
        raise ConfigError(
            f"{annotations.uri}: changed since the run read it: {len(changed)} of {len(uris)} "
            f"image ids of the run are gone or name another file, {_examples(changed)}"
        )


def _join_by_file_name(uris: Sequence[str], annotations: AnnotatedImages) -> list[int]:
    entries: defaultdict[str, list[CocoImage]] = defaultdict(list)
    for image in annotations.images:
        entries[_suffix(image.file_name)].append(image)
    depth = max((suffix.count("/") for suffix in entries), default=0)
    matches = [_matching_suffixes(uri, entries.keys(), depth) for uri in uris]
    claims = Counter(found[-1] for found in matches if found)

    unmatched = [uri for uri, found in zip(uris, matches, strict=True) if not found]
    ambiguous = [
        uri
        for uri, found in zip(uris, matches, strict=True)
        if found and not _is_clear(found, claims, len(entries[found[-1]]))
    ]
    if unmatched or ambiguous:
        raise ConfigError(_explain(annotations.uri, len(uris), unmatched, ambiguous))
    return [entries[found[-1]][0].id for found in matches]


def _suffix(file_name: str) -> str:
    """Reduce a ``file_name`` to what can be the end of a uri: ``../a//b.jpg`` to ``a/b.jpg``."""
    parts = posixpath.normpath(file_name).split("/")
    while parts[0] in {"", ".", ".."} and len(parts) > 1:
        parts.pop(0)
    return "/".join(parts)


def _matching_suffixes(uri: str, suffixes: Container[str], depth: int) -> list[str]:
    """List the suffixes that a uri ends with, the longest last."""
    member = _ARCHIVE_MEMBER.match(uri) if "#" in uri else None
    path = "/" + member["member"].removeprefix("./") if member is not None else uri
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
    """Whether the longest match is the only one that makes sense.

    ``b/c.jpg`` beats ``c.jpg`` for the picture ``/a/b/c.jpg``, but only when ``c.jpg`` is another
    picture's: otherwise it could as well have been meant for this one.
    """
    *shorter, longest = found
    return num_entries == 1 and claims[longest] == 1 and all(claims[name] for name in shorter)


def _explain(uri: str, total: int, unmatched: Sequence[str], ambiguous: Sequence[str]) -> str:
    parts: list[str] = []
    if unmatched:
        parts.append(f"{len(unmatched)} match no entry by file_name, {_examples(unmatched)}")
    if ambiguous:
        parts.append(
            f"{len(ambiguous)} share an entry or match several by file_name, {_examples(ambiguous)}"
        )
    return f"{uri}: of the run's {total} pictures, {'; '.join(parts)}"


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _some(names: Mapping[int, str]) -> str:
    shown = [f"{id_} {name!r}" for id_, name in sorted(names.items())[:_MAX_EXAMPLES]]
    return ", ".join(shown) or "none"


def _examples(values: Sequence[str]) -> str:
    return f"such as {', '.join(map(str, values[:_MAX_EXAMPLES]))}"
