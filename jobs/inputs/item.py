"""One thing to be looked at, as the enumeration of the inputs finds it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fcos_core.errors import ConfigError
from jobs.media.extensions import is_image_name, is_video_name
from jobs.media.video.signature import SIGNATURE_BYTES, looks_like_video
from jobs.storage import ObjectInfo, absolute, beneath, storage_for


@dataclass(frozen=True, slots=True, kw_only=True)
class InputItem:
    """One image or video, before it has a place in a manifest.

    Attributes:
        uri: absolute path, ``<archive>#<member>`` or ``<file>#<row>``.
        is_video: whether it is taken for a video.
        size_bytes: of the image's bytes; None if unknown, as for a missing file.
        mtime_ns: last change of the file or of the archive it is in.
        etag: version mark of that object; None on local disk.
        width: as an annotation file says it; None if unknown.
        height: as an annotation file says it; None if unknown.
        image_id: as an annotation file says it; None elsewhere.
    """

    uri: str
    is_video: bool = False
    size_bytes: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    width: int | None = None
    height: int | None = None
    image_id: int | None = None


@dataclass(slots=True)
class Tally:
    """What an enumeration passed over.

    Attributes:
        skipped: files that are named neither like an image nor like a video, and members of
            archives that are not named like an image; hidden ones are not even counted.
        repeated: items that were found before.
    """

    skipped: int = 0
    repeated: int = 0
    uris: set[str] = field(default_factory=set[str])

    def is_new(self, item: InputItem) -> bool:
        """Say whether an item is met for the first time, and count it if not."""
        if item.uri in self.uris:
            self.repeated += 1
            return False
        self.uris.add(item.uri)
        return True


def item_of(info: ObjectInfo) -> InputItem:
    """Make the item of a whole stored object."""
    return InputItem(
        uri=info.uri,
        is_video=is_video_name(info.uri),
        size_bytes=info.size_bytes,
        mtime_ns=info.mtime_ns,
        etag=info.etag,
    )


def explicit_item(info: ObjectInfo) -> InputItem:
    """Make the item of an object that was named: where the name says nothing, by its content."""
    item = item_of(info)
    if item.is_video or is_image_name(info.uri):
        return item
    head = storage_for(info.uri).read_range(info.uri, 0, SIGNATURE_BYTES)
    return replace(item, is_video=looks_like_video(head))


def named_item(name: str, folder: str, *, place: str) -> InputItem:
    """Make the item of a name that a file mentions.

    Args:
        name: a path or uri; a path may be relative.
        folder: what it is relative to.
        place: where it stands, for an error.

    Returns:
        The item; its size is unknown when there is no such file.

    Raises:
        ConfigError: it is a folder.
    """
    uri = absolute(name) if name.startswith("~") else beneath(folder, name)
    storage = storage_for(uri)
    info = storage.stat(uri)
    if info is not None:
        return explicit_item(info)
    if storage.is_folder(uri):
        raise ConfigError(f"{place}: {name!r} is a folder, expected a file")
    return InputItem(uri=uri, is_video=is_video_name(uri))
