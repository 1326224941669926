"""The images of a COCO file, with the ids and sizes it gives them."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator, Sequence

from fcos_core.errors import AnnotationError, ConfigError
from jobs.annotations.coco_json import CocoImage, load_images
from jobs.annotations.json_columns import UNKNOWN_SIDE
from jobs.annotations.name_matching import OTHER_SPELLINGS
from jobs.inputs.item import InputItem
from jobs.storage import (
    ObjectInfo,
    absolute,
    folder_of,
    join,
    local_path,
    resolve_reference,
    storage_for,
)

_log = logging.getLogger(__name__)

_PROBED_IMAGES = 10
_LARGEST_SIDE = 2**31 - 1  # what a manifest's column holds


def enumerate_coco_file(
    uri: str, image_root: str | None, *, limit: int | None = None
) -> Iterator[InputItem]:
    """Take every image's entry; an image that is missing is an item nevertheless.

    With a limit, only the first entries are taken.

    Entries that are frames of videos are left out: the videos are inputs of their own.

    Without an image root, the folders where data sets commonly have their images are tried: the
    file's own, ``images`` in it or beside it, and the split's (``val2017`` for
    ``instances_val2017.json``) beside it or in ``images``.

    Yields:
        Items in the order of the file.

    Raises:
        ConfigError: the file is malformed, two entries name one image, or there is no such root.
    """
    try:
        images = load_images(uri)
    except AnnotationError as error:
        raise ConfigError(f"input cannot be read: {error}") from error
    root = _find_root(uri, images) if image_root is None else absolute(image_root)
    if image_root is not None and not storage_for(root).is_folder(root):
        raise ConfigError(f"image root {image_root!r} is no folder")
    ids: dict[str, int] = {}
    missing: list[str] = []
    for image in images[:limit]:
        image_uri, info = find_image(root, image.file_name)
        if info is None:
            missing.append(image.file_name)
        if ids.setdefault(image_uri, image.id) != image.id:
            both = f"{ids[image_uri]} and {image.id}"
            raise ConfigError(f"{uri}: images {both} are both {image_uri!r}")
        sides = image.width, image.height
        is_sized = UNKNOWN_SIDE not in sides and max(sides) <= _LARGEST_SIDE
        yield InputItem(
            uri=image_uri,
            size_bytes=info.size_bytes if info else None,
            mtime_ns=info.mtime_ns if info else None,
            etag=info.etag if info else None,
            width=image.width if is_sized else None,  # the image itself says it later
            height=image.height if is_sized else None,
            image_id=image.id,
        )
    hint = spelling_hint(missing, [root])
    if hint is not None:
        are = "is" if len(missing) == 1 else "are"
        _log.warning("%s: %d of its images %s not there; %s", uri, len(missing), are, hint)


def find_image(root: str, name: str) -> tuple[str, ObjectInfo | None]:
    """Find the file that a COCO file names; one that is missing is named as it is written.

    A name that no file has as it is written may be that of one in another Unicode form: macOS
    writes ``é`` as two characters (NFD), most other programs as one (NFC).

    Returns:
        Its uri and its description; None where no file has the name, or two have it in other forms.
    """
    uri = resolve_reference(root, name)
    info = storage_for(uri).stat(uri)
    if info is not None or name.isascii():
        return uri, info
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")} - {name}
    others = [resolve_reference(root, form) for form in forms]
    found = [other for other in map(storage_for(uri).stat, others) if other is not None]
    if len(found) > 1:
        _log.warning("%r is not there, and %s are both its name in other Unicode forms", uri, found)
    return (found[0].uri, found[0]) if len(found) == 1 else (uri, None)


def spelling_hint(names: Sequence[str], roots: Sequence[str]) -> str | None:
    """Say what other spelling of names that are missing would find their files."""
    for spelling, spell in OTHER_SPELLINGS.items():
        changed = [spell(name) for name in names if spell(name) != name][:_PROBED_IMAGES]
        for root in roots:
            if any(find_image(root, name)[1] for name in changed):
                return f"images in {root} match when {spelling.format(key='file_name')}"
    return None


def _find_root(uri: str, images: Sequence[CocoImage]) -> str:
    if not images:
        raise ConfigError(
            f"{uri}: lists no images; if its entries are frames, give their videos as inputs"
        )
    folder = folder_of(uri)
    beside = folder_of(folder)
    split = local_path(uri).rpartition("/")[2].rpartition(".")[0].rpartition("_")[2]
    candidates = [
        folder,
        join(folder, "images"),
        join(beside, "images"),
        join(beside, split),
        join(beside, "images", split),
    ]
    for root in candidates:
        if any(find_image(root, image.file_name)[1] for image in images[:_PROBED_IMAGES]):
            return root
    tried = ", ".join(candidates)
    names = [image.file_name for image in images[:_PROBED_IMAGES]]
    remedy = spelling_hint(names, candidates) or "give --image-root"
    raise ConfigError(f"{uri}: none of its first images lies in {tried}; {remedy}")
