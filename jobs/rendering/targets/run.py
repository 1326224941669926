"""Draws what FCOS's ground-truth encoding makes of annotated images: an HTML page for each image.

A page shows the boxes with the levels that learn them, the class, centre-ness and distances that
every location of every level learns, and why a box is lost. More than one page get an index.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fcos_core.category import Category
from fcos_core.errors import ConfigError, ImageError, StorageError
from fcos_core.metrics.bpr.frames import boxes_in_frame
from fcos_core.metrics.bpr.rules import LocationRule, named_rule, rule_names
from fcos_core.target_maps import image_targets
from jobs.annotations.coco_json import CocoAnnotations, CocoImage, load_annotations
from jobs.inputs.coco import enumerate_coco_file
from jobs.media.drawing.colors import Pixels
from jobs.media.image.decode import decode_image
from jobs.rendering.targets.index import INDEX_NAME, IndexEntry, index_page
from jobs.rendering.targets.page import targets_page
from jobs.storage import join, local_path, storage_for

_log = logging.getLogger(__name__)

_MAX_THREADS = 4
_LONGEST_STEM = 50
"""Characters: with four bytes each, a name stays within the 255 bytes of most file systems."""


@dataclass(frozen=True, kw_only=True)
class TargetsResult:
    """The pages that were written, and how many of their boxes are recalled.

    Attributes:
        out: uri of the folder.
        rule: name of the rule.
        drawn: uris of the pages, without the index.
        num_skipped: images that cannot be drawn.
        num_left_out: images beyond the limit.
        num_boxes: boxes of the drawn images, without crowd regions.
        num_recalled: boxes that some location learns.
    """

    out: str
    rule: str
    drawn: tuple[str, ...]
    num_skipped: int
    num_left_out: int
    num_boxes: int
    num_recalled: int

    @property
    def failure(self) -> str | None:
        """Why the command fails; None when at least one image is drawn."""
        if self.drawn:
            return None
        images = "1 image" if self.num_skipped == 1 else f"{self.num_skipped} images"
        return f"none of {images} could be drawn"

    def summary(self) -> dict[str, Any]:
        """Return what the command prints as its last line on stdout."""
        return {
            "out": self.out,
            "rule": self.rule,
            "drawn": len(self.drawn),
            "skipped": self.num_skipped,
            "left_out": self.num_left_out,
            "boxes": self.num_boxes,
            "recalled": self.num_recalled,
        }


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One image to draw: its file, its boxes, and the name of its page."""

    image: CocoImage
    uri: str
    page: str
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowds: npt.NDArray[np.float64]


def draw_targets(
    targets: str, *, rule_name: str, out: str, image_root: str | None, limit: int
) -> TargetsResult:
    """Draw pages of the first ``limit`` images of a COCO annotation file.

    ``image_root`` None stands for the folder in which ``fcos detect`` finds the images.

    Raises:
        ConfigError: the rule has no locations, or the annotations list no images.
    """
    rule = _location_rule(rule_name)
    annotations = load_annotations(targets)
    if not annotations.images:
        raise ConfigError(f"{annotations.uri}: lists no images, at least 1 is needed")
    entries = _entries(annotations, image_root=image_root, limit=limit)
    _require_other_names(entries, out)
    num_images = len(annotations.images)
    num_left_out = num_images - len(entries)
    if num_left_out:
        limit_of_all = f"--limit {num_images} draws all"
        _log.info("drawing the first %d of %d images; %s", len(entries), num_images, limit_of_all)
    categories = [Category(id=c.id, name=c.name) for c in annotations.categories]
    pages = _draw_all(entries, out, rule, categories)
    drawn = [page for page in pages if page is not None]
    if len(drawn) > 1:
        index_uri = join(out, INDEX_NAME)
        storage_for(index_uri).write(index_uri, index_page(drawn, annotations.uri, rule))
    return TargetsResult(
        out=out,
        rule=rule.name,
        drawn=tuple(join(out, entry.name) for entry in drawn),
        num_skipped=len(entries) - len(drawn),
        num_left_out=num_left_out,
        num_boxes=sum(entry.num_boxes for entry in drawn),
        num_recalled=sum(entry.num_recalled for entry in drawn),
    )


def page_name(image: CocoImage) -> str:
    """Name the page of an image: within the folder whatever the file is called, one for each id."""
    stem = Path(re.split(r"[/\\]", image.file_name)[-1]).stem
    stem = re.sub(r"[^\w.-]+", "_", stem)[:_LONGEST_STEM].strip("._-")
    number = f"{image.id:012d}"
    return f"{number}.html" if stem in {"", number} else f"{number}_{stem}.html"


def _location_rule(name: str) -> LocationRule:
    rule = named_rule(name)
    if isinstance(rule, LocationRule):
        return rule
    with_locations = [n for n in rule_names() if isinstance(named_rule(n), LocationRule)]
    raise ConfigError(
        f"rule {name!r} has anchors and no locations to draw: choose one of "
        f"{', '.join(with_locations)}"
    )


def _entries(annotations: CocoAnnotations, *, image_root: str | None, limit: int) -> list[_Entry]:
    items = list(enumerate_coco_file(annotations.uri, image_root, limit=limit))
    entries: list[_Entry] = []
    pairs = zip(annotations.images, items, strict=False)
    for index, (image, item) in enumerate(pairs):
        own = np.flatnonzero(annotations.image_index == index)
        is_crowd = annotations.is_crowd[own]
        crowds, members = own[is_crowd], own[~is_crowd]
        entry = _Entry(
            image=image,
            uri=item.uri,
            page=page_name(image),
            boxes=annotations.boxes[members],
            labels=annotations.labels[members],
            crowds=annotations.boxes[crowds],
        )
        entries.append(entry)
    return entries


def _require_other_names(entries: Sequence[_Entry], out: str) -> None:
    images = {os.path.realpath(local_path(entry.uri)) for entry in entries}
    for name in (INDEX_NAME, *(entry.page for entry in entries)):
        page_uri = join(out, name)
        if os.path.realpath(local_path(page_uri)) in images:
            raise ConfigError(f"{page_uri!r} is one of the images: give another --out")


def _draw_all(
    entries: Sequence[_Entry], out: str, rule: LocationRule, categories: Sequence[Category]
) -> Iterator[IndexEntry | None]:
    # As many images are in memory as there are threads.
    num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(num_threads) as pool:
        draw = partial(_draw_or_skip, out=out, rule=rule, categories=categories)
        yield from pool.map(draw, entries)


def _draw_or_skip(
    entry: _Entry, out: str, rule: LocationRule, categories: Sequence[Category]
) -> IndexEntry | None:
    try:
        pixels = _read(entry)
    except (ImageError, StorageError) as error:
        _log.warning("skipped: %s", error)
        return None
    height, width = pixels.shape[:2]
    targets = image_targets((height, width), entry.boxes, entry.labels, rule)
    title = f"image {entry.image.id} · {entry.image.file_name}"
    crowds = boxes_in_frame(
        entry.crowds,
        np.zeros(len(entry.crowds), np.int64),
        np.array([(height, width)], np.int64),
        rule.frame,
    )
    page = targets_page(pixels, title, targets, categories, crowds)
    page_uri = join(out, entry.page)
    storage_for(page_uri).write(page_uri, page)
    return IndexEntry(
        name=entry.page,
        image_id=entry.image.id,
        file_name=entry.image.file_name,
        num_boxes=len(targets.boxes),
        num_recalled=int(targets.outcomes.is_recalled.sum()),
    )


def _read(entry: _Entry) -> Pixels:
    pixels = decode_image(storage_for(entry.uri).read(entry.uri), place=entry.uri)
    height, width = pixels.shape[:2]
    image = entry.image
    if not image.may_be(width, height):
        raise ImageError(
            f"{entry.uri}: is {width} x {height}, its annotation says "
            f"{image.width or 'any'} x {image.height or 'any'}"
        )
    return pixels
