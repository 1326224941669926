"""The images of a COCO file, with the ids and sizes it gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fcos_core.errors import AnnotationError, ConfigError
from jobs.annotations.coco_json import CocoImage, load_images
from jobs.inputs.item import InputItem
from jobs.storage import absolute, folder_of, join, resolve_reference, storage_for

_PROBED_IMAGES = 10
_LARGEST_SIDE = 2**31 - 1  # what a manifest's column holds


def enumerate_coco_file(uri: str, image_root: str | None) -> Iterator[InputItem]:
    """Take every image's entry; an image that is missing is an item nevertheless.

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
    storage = storage_for(root)
    if image_root is not None and not storage.is_folder(root):
        raise ConfigError(f"image root {image_root!r} is no folder")
    ids: dict[str, int] = {}
    for image in images:
        image_uri = resolve_reference(root, image.file_name)
        if ids.setdefault(image_uri, image.id) != image.id:
            both = f"{ids[image_uri]} and {image.id}"
            raise ConfigError(f"{uri}: images {both} are both {image_uri!r}")
        info = storage.stat(image_uri)
        is_sized = max(image.width, image.height) <= _LARGEST_SIDE
        yield InputItem(
            uri=image_uri,
            size_bytes=info.size_bytes if info else None,
            mtime_ns=info.mtime_ns if info else None,
            etag=info.etag if info else None,
            width=image.width if is_sized else None,
            height=image.height if is_sized else None,
            image_id=image.id,
        )


def _find_root(uri: str, images: Sequence[CocoImage]) -> str:
    if not images:
        raise ConfigError(
            f"{uri}: lists no images; if its entries are frames, give their videos as inputs"
        )
    folder = folder_of(uri)
    beside = folder_of(folder)
    split = uri.rpartition("/")[2].rpartition(".")[0].rpartition("_")[2]
    candidates = [
        folder,
        join(folder, "images"),
        join(beside, "images"),
        join(beside, split),
        join(beside, "images", split),
    ]
    storage = storage_for(uri)
    for root in candidates:
        uris = (resolve_reference(root, image.file_name) for image in images[:_PROBED_IMAGES])
        if any(map(storage.stat, uris)):
            return root
    tried = ", ".join(candidates)
    raise ConfigError(f"{uri}: none of its first images lies in {tried}; give --image-root")
