"""One image or video, as the enumeration of the inputs finds it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fcos_core.errors import ConfigError
from jobs.media.extensions import is_image_name, is_video_name
from jobs.media.video.signature import SIGNATURE_BYTES, looks_like_video
from jobs.storage import ObjectInfo, absolute, resolve_reference, storage_for


@dataclass(frozen=True, slots=True, kw_only=True)
class InputItem:
    """One image or video, before it has a place in a manifest.

    Attributes:
        uri: absolute path, ``<archive>#<member>`` or ``<file>#<row>``.
        is_video: whether the item is decoded as a video.
        size_bytes: length of the file or member; None if unknown, as for a missing file.
        mtime_ns: last change of the file or of the archive.
        etag: version mark of the file or of the archive; None on local disk.
        width: pixels, from an annotation file; None if unknown.
        height: pixels, from an annotation file; None if unknown.
        image_id: from an annotation file; None for other inputs.
    """

    uri: str
    is_video: bool = False
    size_bytes: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    width: int | None = None
    height: int | None = None
    image_id: int | None = None


def item_by_name(info: ObjectInfo) -> InputItem:
    """Make the item of a stored object; its name says whether it is a video."""
    return InputItem(
        uri=info.uri,
        is_video=is_video_name(info.uri),
        size_bytes=info.size_bytes,
        mtime_ns=info.mtime_ns,
        etag=info.etag,
    )


def item_by_content(info: ObjectInfo) -> InputItem:
    """Make the item of a stored object; its content decides where its name does not."""
    item = item_by_name(info)
    if item.is_video or is_image_name(info.uri):
        return item
    head = storage_for(info.uri).read_range(info.uri, 0, SIGNATURE_BYTES, info.version)
    return replace(item, is_video=looks_like_video(head))


def referenced_item(name: str, folder: str, *, place: str) -> InputItem:
    """Make the item of a path or uri that stands in a list or a table, at ``place``.

    A relative path starts from ``folder``. The size is unknown when there is no such file.

    Raises:
        ConfigError: the name is a folder's.
    """
    uri = absolute(name) if name.startswith("~") else resolve_reference(folder, name)
    storage = storage_for(uri)
    info = storage.stat(uri)
    if info is not None:
        return item_by_content(info)
    if storage.is_folder(uri):
        raise ConfigError(f"{place}: {name!r} is a folder, expected a file")
    return InputItem(uri=uri, is_video=is_video_name(uri))
