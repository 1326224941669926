"""COCO annotation and results files of any size as columns, checked strictly; the only reader.

Files are read as a stream: in memory are the columns that are wanted, one batch of entries and a
few megabytes of text, never polygons (``docs/decisions/annotations.md``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from fcos_core.errors import AnnotationError, StorageError
from jobs.annotations.batches import (
    BoolArray,
    Columns,
    InvalidEntries,
    InvalidEntry,
    ListReader,
)
from jobs.annotations.json_columns import (
    UNKNOWN_SIDE,
    Float64Array,
    Int64Array,
    JsonColumns,
    is_nan,
)
from jobs.annotations.json_stream import stream_entries, stream_lists
from jobs.annotations.references import require_known, with_index, without_repeats
from jobs.annotations.video_frames import FRAME_KEYS, FrameEntries, frame_entries, read_names
from jobs.storage import absolute
from jobs.storage.chunks import HashedChunks

Names = Literal["none", "images", "images and frames"]
"""Which names the ``images`` of a file must have.

``images``: a ``file_name`` each. ``images and frames``: a ``file_name``, or ``video`` and
``frame_index``. ``none``: names are not read.
"""

_IMAGE_KEYS = ("id", "width", "height", "file_name", *FRAME_KEYS)
_CATEGORY_KEYS = ("id", "name")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "is_crowd")
_RESULT_KEYS = ("id", "image_id", "category_id", "bbox", "score")
_REFERENCES = (("image_id", "image_index", "images"), ("category_id", "label", "categories"))


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One entry of ``images``; width and height in pixels, 0 where the file says none."""

    id: int
    file_name: str
    width: int
    height: int

    def may_be(self, width: int, height: int) -> bool:
        """Say whether an image of this size can be the one that is meant."""
        return self.width in {UNKNOWN_SIDE, width} and self.height in {UNKNOWN_SIDE, height}


@dataclass(frozen=True, slots=True)
class CocoCategory:
    """One entry of ``categories``."""

    id: int
    name: str


@dataclass(frozen=True, kw_only=True)
class CocoAnnotations:
    """A COCO annotation file as columns; every image and category that a box names is here.

    With ``I`` images and ``G`` boxes, both in the file's order:

    Attributes:
        uri: the file.
        sha256: digest of the file's bytes.
        image_ids: (I,)
        image_sizes: (I, 2), width and height in pixels, as the file says them; 0 where it does not.
        file_names: (I,), empty for an entry that is only a frame; None when names were not read.
        frames: the entries that are frames of videos; None when frames were not read.
        categories: in the file's order.
        ids: (G,), of crowd regions and other boxes alike.
        image_index: (G,), into ``image_ids``.
        labels: (G,), into ``categories``.
        boxes: (G, 4), COCO's x, y, width, height in pixels; a width or height may be zero, as some
            are in COCO's own training file.
        areas: (G,), the file's, which are areas of outlines; the box's area where it has none.
        is_crowd: (G,)
        num_areas_filled: number of areas that the file does not have.
        num_invalid: number of entries of all lists that were left out.
        invalid: the first 10,000 of these entries.
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
    num_invalid: int = 0
    invalid: tuple[InvalidEntry, ...] = ()

    @cached_property
    def images(self) -> tuple[CocoImage, ...]:
        """The entries that have a ``file_name``, in the file's order; needs names."""
        assert self.file_names is not None
        return _named_images(self.image_ids, self.file_names, self.image_sizes)

    @property
    def box_image_ids(self) -> Int64Array:
        """The id of each box's image: (G,)."""
        return self.image_ids[self.image_index]

    @property
    def box_category_ids(self) -> Int64Array:
        """The id of each box's category: (G,)."""
        return np.array([category.id for category in self.categories], np.int64)[self.labels]


@dataclass(frozen=True)
class CocoResults:
    """A COCO results file as columns, in the file's order; boxes are ``x, y, width, height``."""

    uri: str
    sha256: str
    image_ids: Int64Array
    category_ids: Int64Array
    boxes: Float64Array
    scores: Float64Array

    def __len__(self) -> int:
        return len(self.scores)


def load_annotations(
    uri: str,
    *,
    names: Names = "images",
    sizes_needed_by: str | None = None,
    skip_invalid: bool = False,
) -> CocoAnnotations:
    """Read the images, categories and boxes of a COCO annotation file, each in the file's order.

    A missing ``iscrowd`` is 0; a missing ``area`` becomes the box's and is counted. A value of null
    is a missing one, and so is NaN for ``iscrowd``; ``JsonColumns.sides`` says what a missing size
    is. A whole number may be written as a float, as pandas does.

    Args:
        uri: a local path or a storage uri.
        names: which names the images must have.
        sizes_needed_by: what cannot do without the images' widths and heights, for the error; None
            where they may be missing.
        skip_invalid: leave out invalid entries, and the boxes of images and categories that are
            left out, instead of refusing the file. A file that is no JSON, or lacks a list, is
            still refused.

    Raises:
        AnnotationError: the file cannot be read, is no JSON or truncated, or has an invalid entry;
            one line names file, list, position, id and value.
    """
    uri = absolute(uri)
    invalid = InvalidEntries(uri, skip=skip_invalid)
    readers = {
        "images": ListReader(
            "images",
            _IMAGE_KEYS,
            partial(_read_images, names=names, sizes_needed_by=sizes_needed_by),
            invalid,
        ),
        "annotations": ListReader("annotations", _ANNOTATION_KEYS, _read_annotations, invalid),
        "categories": ListReader("categories", _CATEGORY_KEYS, _read_categories, invalid),
    }
    sha256 = _read_lists(uri, readers)
    columns = {name: without_repeats(reader, reader.columns()) for name, reader in readers.items()}
    images, boxes, categories = (columns[name] for name in ("images", "annotations", "categories"))
    for key, index, name in _REFERENCES:
        boxes = with_index(readers["annotations"], boxes, key, index, (name, columns[name]))
    return CocoAnnotations(
        uri=uri,
        sha256=sha256,
        image_ids=images["id"],
        image_sizes=images["size"],
        file_names=None if names == "none" else tuple(images["file_name"].tolist()),
        frames=frame_entries(images) if names == "images and frames" else None,
        categories=tuple(map(CocoCategory, categories["id"].tolist(), categories["name"].tolist())),
        ids=boxes["id"],
        image_index=boxes["image_index"],
        labels=boxes["label"],
        boxes=boxes["box"],
        areas=boxes["area"],
        is_crowd=boxes["is_crowd"],
        num_areas_filled=int(boxes["is_area_filled"].sum()),
        num_invalid=invalid.count,
        invalid=tuple(invalid.described),
    )


def load_images(uri: str) -> tuple[CocoImage, ...]:
    """Read only ``images`` of a COCO file, in its order; COCO's test sets have no annotations.

    Entries that are frames of videos, and have no ``file_name``, are left out.
    """
    uri = absolute(uri)
    reader = ListReader("images", _IMAGE_KEYS, _read_named_images, InvalidEntries(uri, skip=False))
    _read_lists(uri, {"images": reader})
    images = without_repeats(reader, reader.columns())
    return _named_images(images["id"], images["file_name"].tolist(), images["size"])


def load_results(uri: str, annotations: CocoAnnotations) -> CocoResults:
    """Read a COCO results file: a list of ``image_id, category_id, bbox, score``.

    Categories the annotations do not have are kept; scoring passes over them as pycocotools does.
    The file's order decides between equal scores.
    """
    uri = absolute(uri)
    reader = ListReader("results", _RESULT_KEYS, _read_results, InvalidEntries(uri, skip=False))
    sha256 = _read(uri, lambda chunks: reader.add(stream_entries(chunks, uri, "results")))
    results = reader.columns()
    where = f"images of {annotations.uri}"
    require_known(reader, results, "image_id", annotations.image_ids, where)
    return CocoResults(
        uri=uri,
        sha256=sha256,
        image_ids=results["image_id"],
        category_ids=results["category_id"],
        boxes=results["box"],
        scores=results["score"],
    )


def _read(uri: str, read: Callable[[Iterator[bytes]], None]) -> str:
    # Returns the sha256 of the whole file.
    chunks = HashedChunks(uri)
    try:
        read(iter(chunks))
    except StorageError as error:
        # At a command's start this is a wrong argument, not an item to try again.
        raise AnnotationError(f"COCO file {error}") from error
    return chunks.sha256


def _read_lists(uri: str, readers: dict[str, ListReader]) -> str:
    def read(chunks: Iterator[bytes]) -> None:
        for name, entries in stream_lists(chunks, uri, tuple(readers)):
            readers[name].add(entries)

    return _read(uri, read)


def _named_images(
    ids: Int64Array, file_names: Sequence[str], sizes: Int64Array
) -> tuple[CocoImage, ...]:
    entries = zip(ids.tolist(), file_names, *sizes.T.tolist(), strict=True)
    return tuple(CocoImage(i, name, w, h) for i, name, w, h in entries if name)


def _read_images(table: JsonColumns, *, names: Names, sizes_needed_by: str | None) -> Columns:
    columns = _read_ids_and_sizes(table, sizes_needed_by)
    if names == "images":
        columns["file_name"] = _objects(table.strings("file_name"))
    elif names == "images and frames":
        columns |= read_names(table)
    return columns


def _read_named_images(table: JsonColumns) -> Columns:
    is_frame = [video is not None for video in table.values("video", default=None)]
    file_names = table.strings("file_name", may_lack=is_frame if any(is_frame) else None)
    return _read_ids_and_sizes(table) | {"file_name": _objects(file_names)}


def _read_ids_and_sizes(table: JsonColumns, sizes_needed_by: str | None = None) -> Columns:
    ids = table.integers("id")
    sizes = [table.sides(key, needed_by=sizes_needed_by) for key in ("width", "height")]
    return {"id": ids, "size": np.stack(sizes, axis=1)}


def _read_categories(table: JsonColumns) -> Columns:
    return {"id": table.integers("id"), "name": _objects(table.strings("name"))}


def _read_annotations(table: JsonColumns) -> Columns:
    table.refuse_key("is_crowd", "COCO's name is iscrowd")
    ids, image_ids, category_ids = map(table.integers, ("id", "image_id", "category_id"))
    boxes = table.boxes("bbox")
    areas = table.values("area", default=None)
    box_areas = (boxes[:, 2] * boxes[:, 3]).tolist()
    filled = [own if own is not None else box for own, box in zip(areas, box_areas, strict=True)]
    raw_crowd = table.values("iscrowd", default=None)
    crowd = [0 if own is None or is_nan(own) else own for own in raw_crowd]
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


def _read_results(table: JsonColumns) -> Columns:
    return {
        "image_id": table.integers("image_id"),
        "category_id": table.integers("category_id"),
        "box": table.boxes("bbox"),
        "score": table.numbers("score", table.values("score")),
    }


def _objects(values: list[str]) -> npt.NDArray[np.object_]:
    return np.array(values, dtype=np.object_)
