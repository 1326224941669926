"""COCO annotation and results files: read whole, checked strictly, kept as columns."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from fcos_core.errors import AnnotationError, StorageError
from jobs.annotations.json_columns import Float64Array, Int64Array, JsonColumns
from jobs.storage import absolute, storage_for


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One entry of ``images``; width and height in pixels, as the file says them."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CocoCategory:
    """One entry of ``categories``."""

    id: int
    name: str


@dataclass(frozen=True)
class CocoBoxes:
    """The ``annotations`` list as columns, in the file's order.

    ``boxes`` are COCO's ``x, y, width, height`` in pixels. A width or height of zero is kept:
    COCO's own training file has such boxes.
    """

    ids: Int64Array
    image_ids: Int64Array
    category_ids: Int64Array
    boxes: Float64Array
    areas: Float64Array
    is_crowd: npt.NDArray[np.bool_]
    num_areas_filled: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class CocoAnnotations:
    """A whole annotation file; every image and category that a box names is in the file."""

    uri: str
    sha256: str
    images: tuple[CocoImage, ...]
    categories: tuple[CocoCategory, ...]
    annotations: CocoBoxes

    @property
    def image_ids(self) -> Int64Array:
        """Of the images, in the file's order."""
        return np.array([image.id for image in self.images], np.int64)


class KnownImages(Protocol):
    """What is needed of an annotation file to read results about it."""

    @property
    def uri(self) -> str:
        """The file."""
        ...

    @property
    def image_ids(self) -> Int64Array:
        """Of its images."""
        ...


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


def load_annotations(uri: str) -> CocoAnnotations:
    """Read a COCO detection annotation file.

    A missing ``iscrowd`` is 0; a missing ``area`` becomes the box's and is counted.

    Args:
        uri: a local path or a storage uri.

    Returns:
        The file's images, categories and boxes, in the file's order.
    """
    uri = absolute(uri)
    document, sha256 = _load_object(uri)
    images = _read_images(uri, document)
    categories = _read_categories(uri, document)
    boxes = _read_boxes(uri, document, images, categories)
    return CocoAnnotations(uri, sha256, images, categories, boxes)


def load_images(uri: str) -> tuple[CocoImage, ...]:
    """Read only ``images`` of a COCO file; it may have no annotations, as COCO's test sets do.

    Args:
        uri: a local path or a storage uri.

    Returns:
        The images in the file's order. Entries that are frames of videos, and have no
        ``file_name``, are left out.
    """
    uri = absolute(uri)
    document, _ = _load_object(uri)
    return _read_images(uri, document, with_frames=True)


def load_results(uri: str, annotations: KnownImages) -> CocoResults:
    """Read a COCO results file: a list of ``image_id, category_id, bbox, score``.

    Categories the annotations do not have are kept; scoring passes over them as pycocotools does.

    Args:
        uri: a local path or a storage uri.
        annotations: the ground truth that the results are about.

    Returns:
        The results in the file's order, which decides between equal scores.
    """
    uri = absolute(uri)
    entries, sha256 = _load_json(uri)
    table = JsonColumns(uri, "results", entries)
    image_ids = table.integers("image_id")
    known = annotations.image_ids.tolist()
    table.require_known("image_id", image_ids, known, f"images of {annotations.uri}")
    return CocoResults(
        uri=uri,
        sha256=sha256,
        image_ids=image_ids,
        category_ids=table.integers("category_id"),
        boxes=table.boxes("bbox"),
        scores=table.numbers("score", table.values("score")),
    )


def _load_json(uri: str) -> tuple[object, str]:
    try:
        data = storage_for(uri).read(uri)
    except StorageError as error:
        # At a command's start this is a wrong argument, not an item to try again.
        raise AnnotationError(f"COCO file {error}") from error
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise AnnotationError(f"{uri}: {len(data)} bytes that are not JSON: {reason}") from error
    return document, hashlib.sha256(data).hexdigest()


def _load_object(uri: str) -> tuple[dict[str, Any], str]:
    document, sha256 = _load_json(uri)
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else type(document).__name__
        raise AnnotationError(
            f"{uri}: is {kind}, expected an object with images, annotations and categories"
        )
    return cast("dict[str, Any]", document), sha256


def _table(uri: str, document: dict[str, Any], name: str) -> JsonColumns:
    if name not in document:
        keys = ", ".join(sorted(document)[:8]) or "nothing"
        raise AnnotationError(f"{uri}: has no {name}; it has {keys}")
    return JsonColumns(uri, name, document[name])


def _read_images(
    uri: str, document: dict[str, Any], *, with_frames: bool = False
) -> tuple[CocoImage, ...]:
    table = _table(uri, document, "images")
    ids = table.integers("id")
    table.require_unique("id", ids)
    is_frame = [video is not None and with_frames for video in table.values("video", default=None)]
    file_names = table.strings("file_name", may_lack=is_frame if any(is_frame) else None)
    widths, heights = (table.integers(key, minimum=1).tolist() for key in ("width", "height"))
    entries = zip(ids.tolist(), file_names, widths, heights, strict=True)
    return tuple(CocoImage(i, name, w, h) for i, name, w, h in entries if name)


def _read_categories(uri: str, document: dict[str, Any]) -> tuple[CocoCategory, ...]:
    table = _table(uri, document, "categories")
    ids = table.integers("id")
    table.require_unique("id", ids)
    return tuple(map(CocoCategory, ids.tolist(), table.strings("name")))


def _read_boxes(
    uri: str,
    document: dict[str, Any],
    images: Iterable[CocoImage],
    categories: Iterable[CocoCategory],
) -> CocoBoxes:
    table = _table(uri, document, "annotations")
    table.refuse_key("is_crowd", "COCO's name is iscrowd")
    ids = table.integers("id")
    table.require_unique("id", ids)
    image_ids = table.integers("image_id")
    table.require_known("image_id", image_ids, (image.id for image in images), "images")
    category_ids = table.integers("category_id")
    known = (category.id for category in categories)
    table.require_known("category_id", category_ids, known, "categories")
    boxes = table.boxes("bbox")

    areas = table.values("area", default=None)
    box_areas = (boxes[:, 2] * boxes[:, 3]).tolist()
    filled = [own if own is not None else box for own, box in zip(areas, box_areas, strict=True)]
    crowd = table.values("iscrowd", default=0)
    table.require("iscrowd", crowd, lambda value: value in (0, 1), "0 or 1")
    return CocoBoxes(
        ids=ids,
        image_ids=image_ids,
        category_ids=category_ids,
        boxes=boxes,
        areas=table.numbers("area", filled, minimum=0.0),
        is_crowd=np.array(crowd, dtype=np.bool_),
        num_areas_filled=areas.count(None),
    )
