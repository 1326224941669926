"""Draw what FCOS's ground-truth encoding makes of annotated images, one page for each.

A page shows the boxes with the levels that learn them, the class, centre-ness and distances that
every location of every level learns, and why a box is lost.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from fcos_core.errors import ConfigError, ImageError, StorageError
from fcos_core.metrics.bpr.frames import boxes_in_frame
from fcos_core.metrics.bpr.rules import LocationRule, named_rule, rule_names
from fcos_core.structures import Category
from fcos_core.target_maps import ImageTargets, image_targets
from jobs.annotations.coco_json import CocoAnnotations, CocoImage, load_annotations
from jobs.inputs.coco import in_coco_file
from jobs.inputs.item import Tally
from jobs.media.drawing.colors import Pixels
from jobs.media.image.decode import decode_image
from jobs.rendering.targets.page import targets_page
from jobs.storage import absolute, join, storage_for

_log = logging.getLogger(__name__)

_MAX_THREADS = 4
_LONGEST_STEM = 50
"""Characters: with four bytes each, a name stays within the 255 bytes of most file systems."""

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]


@dataclass(frozen=True, kw_only=True)
class TargetsResult:
    """What was drawn.

    Attributes:
        out: uri of the folder.
        rule: name of the rule.
        drawn: uris of the pages.
        num_skipped: images that cannot be drawn.
        num_left_out: images beyond the limit.
        num_boxes: in the drawn images, without crowd regions.
        num_recalled: those that some location learns.
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
        """Why this is no success."""
        if self.drawn:
            return None
        images = "1 image" if self.num_skipped == 1 else f"{self.num_skipped} images"
        return f"none of {images} could be drawn"

    def summary(self) -> dict[str, Any]:
        """What the command's last line on stdout says."""
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
    """One image to draw: where it lies, what is on it, where its page goes."""

    image: CocoImage
    uri: str
    page_uri: str
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowds: npt.NDArray[np.float64]


def draw_targets(
    targets: str, *, rule_name: str, out: str, image_root: str | None, limit: int
) -> TargetsResult:
    """Draw the pages.

    Args:
        targets: COCO annotation file whose encoding is drawn.
        rule_name: of the rule that says which location learns which box.
        out: folder of the pages.
        image_root: where the images lie; None for where ``fcos detect`` finds them.
        limit: how many images, the file's first.

    Returns:
        The pages, and what became of the boxes on them.

    Raises:
        ConfigError: the rule has no locations, the annotations no images, or ``out`` is a file.
    """
    rule = _location_rule(rule_name)
    annotations = load_annotations(targets)
    if not annotations.images:
        raise ConfigError(f"{annotations.uri}: lists no images, at least 1 is needed")
    out = absolute(out)
    if storage_for(out).stat(out) is not None:
        raise ConfigError(f"--out {out!r} is a file, must be a folder")
    entries = _entries(annotations, out, image_root=image_root, limit=limit)
    num_left_out = len(annotations.images) - len(entries)
    if num_left_out:
        _log.info("the first %d images; %d left out by --limit", len(entries), num_left_out)
    categories = [Category(id=c.id, name=c.name) for c in annotations.categories]
    drawn: list[str] = []
    counts = Counter[str]()
    for entry, drawn_targets in zip(entries, _draw_all(entries, rule, categories), strict=True):
        if drawn_targets is not None:
            drawn.append(entry.page_uri)
            counts["boxes"] += len(drawn_targets.boxes)
            counts["recalled"] += int(drawn_targets.outcomes.is_recalled.sum())
    return TargetsResult(
        out=out,
        rule=rule.name,
        drawn=tuple(drawn),
        num_skipped=len(entries) - len(drawn),
        num_left_out=num_left_out,
        num_boxes=counts["boxes"],
        num_recalled=counts["recalled"],
    )


def page_name(image: CocoImage) -> str:
    """Name an image's page; no file name leads out of the folder, and no two ids to one page."""
    stem = Path(re.split(r"[/\\]", image.file_name)[-1]).stem
    stem = re.sub(r"[^\w.-]+", "_", stem)[:_LONGEST_STEM].strip("._-")
    number = f"{image.id:012d}"
    return f"{number}.png" if stem in {"", number} else f"{number}_{stem}.png"


def _location_rule(name: str) -> LocationRule:
    rule = named_rule(name)
    if isinstance(rule, LocationRule):
        return rule
    with_locations = [n for n in rule_names() if isinstance(named_rule(n), LocationRule)]
    raise ConfigError(
        f"rule {name!r} has anchors and no locations to draw: choose one of "
        f"{', '.join(with_locations)}"
    )


def _entries(
    annotations: CocoAnnotations, out: str, *, image_root: str | None, limit: int
) -> list[_Entry]:
    items = in_coco_file(annotations.uri, image_root, Tally())
    entries: list[_Entry] = []
    pairs = zip(annotations.images, islice(items, limit), strict=False)
    for index, (image, item) in enumerate(pairs):
        own = np.flatnonzero(annotations.image_index == index)
        is_crowd = annotations.is_crowd[own]
        crowds, members = own[is_crowd], own[~is_crowd]
        entry = _Entry(
            image=image,
            uri=item.uri,
            page_uri=join(out, page_name(image)),
            boxes=annotations.boxes[members],
            labels=annotations.labels[members],
            crowds=annotations.boxes[crowds],
        )
        entries.append(entry)
    _require_other_names(entries)
    return entries


def _require_other_names(entries: Sequence[_Entry]) -> None:
    """Refuse to replace an image by its page.

    Raises:
        ConfigError: a page would.
    """
    sources = {os.path.realpath(entry.uri) for entry in entries}
    for entry in entries:
        if os.path.realpath(entry.page_uri) in sources:
            raise ConfigError(f"{entry.page_uri!r} is one of the images: give another --out")


def _draw_all(
    entries: Sequence[_Entry], rule: LocationRule, categories: Sequence[Category]
) -> Iterator[ImageTargets | None]:
    """Draw in threads, as many images in memory as there are threads.

    Yields:
        The targets of each image in order; None for one that cannot be drawn.
    """
    num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(num_threads) as pool:
        yield from pool.map(partial(_draw_or_skip, rule=rule, categories=categories), entries)


def _draw_or_skip(
    entry: _Entry, rule: LocationRule, categories: Sequence[Category]
) -> ImageTargets | None:
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
    storage_for(entry.page_uri).write(entry.page_uri, _encoded(page))
    return targets


def _read(entry: _Entry) -> Pixels:
    """Decode a entry.

    Raises:
        ImageError: it is not of the size its boxes were drawn on.
    """
    pixels = decode_image(storage_for(entry.uri).read(entry.uri), place=entry.uri)
    height, width = pixels.shape[:2]
    annotated = (entry.image.height, entry.image.width)
    if (height, width) != annotated:
        raise ImageError(
            f"{entry.uri}: is {width} x {height}, its annotation says "
            f"{annotated[1]} x {annotated[0]}"
        )
    return pixels


def _encoded(page: Pixels) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(page, cv2.COLOR_RGB2BGR), _PNG)
    return cast("npt.NDArray[np.uint8]", data).tobytes()
