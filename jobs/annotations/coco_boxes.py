"""The boxes of a COCO annotation file of any size as arrays, without its polygons and images.

``coco_json`` holds a file whole and is for scoring, where names and results matter; this one is
for numbers about the boxes of a whole training set. In memory are the arrays below and a few
megabytes (``docs/decisions/annotations.md``).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from fcos_core.errors import AnnotationError, StorageError
from jobs.annotations.batches import BoolArray, Columns, GatheredList, InvalidEntry, Refusals
from jobs.annotations.coco_json import CocoCategory, CocoImage
from jobs.annotations.json_columns import Float64Array, Int64Array, JsonColumns
from jobs.annotations.json_stream import stream_lists
from jobs.annotations.references import with_index, without_repeats
from jobs.annotations.video_frames import FRAME_KEYS, FrameEntries, frame_entries, read_names
from jobs.storage import absolute
from jobs.storage.chunks import HashedChunks

_IMAGE_KEYS = ("id", "width", "height", "file_name", *FRAME_KEYS)
_CATEGORY_KEYS = ("id", "name")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "is_crowd")
_REFERENCES = (("image_id", "image_index", "images"), ("category_id", "label", "categories"))


@dataclass(frozen=True, kw_only=True)
class BoxAnnotations:
    """A COCO annotation file as columns; every image and category that a box names is here.

    With ``I`` images and ``G`` boxes, both in the file's order:

    Attributes:
        uri: the file.
        sha256: of its bytes.
        image_ids: (I,)
        image_sizes: (I, 2), width and height in pixels, as the file says them.
        file_names: of the images, empty where it is a frame only; None unless asked for.
        frames: the images that are frames of videos; None unless asked for.
        categories: in the file's order.
        ids: (G,), of crowd and other boxes alike.
        image_index: (G,), into ``image_ids``.
        labels: (G,), into ``categories``.
        boxes: (G, 4), COCO's x, y, width, height in pixels; a width or height may be zero.
        areas: (G,), the file's, which are those of the outlines; the box's where it has none.
        is_crowd: (G,)
        num_areas_filled: how many areas the file did not have.
        num_invalid: entries of all lists that were left out.
        invalid: these entries, the first 10,000 that were found.
    """

    uri: str
    sha256: str
    image_ids: Int64Array
    image_sizes: Int64Array
    file_names: tuple[str, ...] | None
    frames: FrameEntries | None = None
    categories: tuple[CocoCategory, ...]
    ids: Int64Array
    image_index: Int64Array
    labels: Int64Array
    boxes: Float64Array
    areas: Float64Array
    is_crowd: BoolArray
    num_areas_filled: int
    num_invalid: int
    invalid: tuple[InvalidEntry, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> tuple[CocoImage, ...]:
        """The images one by one; only where their file names were read."""
        assert self.file_names is not None
        ids, (widths, heights) = self.image_ids.tolist(), self.image_sizes.T.tolist()
        entries = zip(ids, self.file_names, widths, heights, strict=True)
        return tuple(CocoImage(i, name, w, h) for i, name, w, h in entries if name)


def read_box_annotations(
    uri: str, *, skip_invalid: bool = False, with_file_names: bool = False
) -> BoxAnnotations:
    """Read the boxes of a COCO detection annotation file, of any size.

    A missing ``iscrowd`` is 0; a missing ``area`` becomes the box's and is counted.

    Args:
        uri: a local path or a storage uri.
        skip_invalid: leave out invalid entries, and the boxes of images and categories that are
            left out, instead of refusing the file. One that is no JSON, or lacks a list, is
            refused all the same.
        with_file_names: read the images' names too, which must then be there: of an image its
            ``file_name``, of a frame its ``video`` and ``frame_index``.

    Returns:
        The file's images, categories and boxes, in the file's order.

    Raises:
        AnnotationError: the file cannot be read, is no JSON or truncated, or has an invalid entry;
            one line names file, list, position, id and value.
    """
    uri = absolute(uri)
    refusals = Refusals(uri, skip=skip_invalid)
    reads = {
        "images": (_IMAGE_KEYS, partial(_read_images, with_file_names=with_file_names)),
        "annotations": (_ANNOTATION_KEYS, _read_annotations),
        "categories": (_CATEGORY_KEYS, _read_categories),
    }
    lists = {name: GatheredList(name, *read, refusals) for name, read in reads.items()}
    chunks = HashedChunks(uri)
    try:
        for name, entries in stream_lists(chunks, uri, tuple(lists)):
            lists[name].add(entries)
    except StorageError as error:
        # At a command's start this is a wrong argument, not an item to try again.
        raise AnnotationError(f"COCO file {error}") from error
    columns = {
        name: without_repeats(gathered, gathered.columns()) for name, gathered in lists.items()
    }
    images, boxes, categories = (columns[name] for name in ("images", "annotations", "categories"))
    for key, index, name in _REFERENCES:
        boxes = with_index(lists["annotations"], boxes, key, index, (name, columns[name]))
    return BoxAnnotations(
        uri=uri,
        sha256=chunks.sha256,
        image_ids=images["id"],
        image_sizes=images["size"],
        file_names=tuple(images["file_name"].tolist()) if with_file_names else None,
        frames=frame_entries(images) if with_file_names else None,
        categories=tuple(map(CocoCategory, categories["id"].tolist(), categories["name"].tolist())),
        ids=boxes["id"],
        image_index=boxes["image_index"],
        labels=boxes["label"],
        boxes=boxes["box"],
        areas=boxes["area"],
        is_crowd=boxes["is_crowd"],
        num_areas_filled=int(boxes["is_area_filled"].sum()),
        num_invalid=refusals.num_invalid,
        invalid=tuple(refusals.kept),
    )


def _read_images(table: JsonColumns, *, with_file_names: bool) -> Columns:
    ids = table.integers("id")
    sizes = [table.integers(key, minimum=1) for key in ("width", "height")]
    columns: Columns = {"id": ids, "size": np.stack(sizes, axis=1)}
    return columns | read_names(table) if with_file_names else columns


def _read_categories(table: JsonColumns) -> Columns:
    ids = table.integers("id")
    return {"id": ids, "name": np.array(table.strings("name"), dtype=np.object_)}


def _read_annotations(table: JsonColumns) -> Columns:
    table.refuse_key("is_crowd", "COCO's name is iscrowd")
    ids, image_ids, category_ids = map(table.integers, ("id", "image_id", "category_id"))
    boxes = table.boxes("bbox")
    areas = table.values("area", default=None)
    box_areas = (boxes[:, 2] * boxes[:, 3]).tolist()
    filled = [own if own is not None else box for own, box in zip(areas, box_areas, strict=True)]
    crowd = table.values("iscrowd", default=0)
    table.require("iscrowd", crowd, lambda value: value in (0, 1), "0 or 1")
    return {
        "id": ids,
        "image_id": image_ids,
        "category_id": category_ids,
        "box": boxes,
        "area": table.numbers("area", filled, minimum=0.0),
        "is_crowd": np.array(crowd, dtype=np.bool_),
        "is_area_filled": np.array([own is None for own in areas], dtype=np.bool_),
    }
