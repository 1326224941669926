"""Draws detections on images of a run, one block of images at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import cv2
import numpy as np

from fcos_core.errors import DataError, ImageError, StorageError
from jobs.inputs.item_bytes import read_item_bytes, source_exists, without_version
from jobs.inputs.relocated import image_reader
from jobs.media.drawing.colors import Pixels
from jobs.media.drawing.detections import DetectedBoxes, draw_detections, enlarged
from jobs.media.drawing.jpeg import encode_jpeg
from jobs.media.drawing.view import fitted
from jobs.media.image.decode import decode_image
from jobs.rendering.shard_rows import ShardRows
from jobs.rundir.rows import ManifestItem, Row
from jobs.storage import storage_for

Status = Literal["drawn", "missing", "changed", "quarantined", "not_detected", "failed"]
"""The outcome of a source; ``not_detected``: the run has no row of this source (yet); ``failed``:
the process that draws it dies."""

TILE_SHAPE = (240, 320)
"""Height and width of a tile of the contact sheet."""

_MAX_PIXELS = 2**31 - 1  # the run has read the image under a limit of its own


@dataclass(frozen=True, kw_only=True)
class Style:
    """Which detections are drawn, under which names, on sources in which folder.

    None stands for all categories, and for the folder in which the run found the sources.
    """

    min_score: float
    category_ids: frozenset[int] | None
    names: Mapping[int, str]
    image_root: str | None


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """One image to draw to ``out``; the contact sheet may show it if ``wants_tile``."""

    item: ManifestItem
    out: str
    wants_tile: bool


@dataclass(frozen=True, kw_only=True)
class ImageBlock:
    """Some images of one shard; ``rows`` is None when the shard is not committed.

    ``threads`` images are drawn, and in memory, at once.
    """

    rows: ShardRows | None
    items: Sequence[WorkItem]
    style: Style
    threads: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one source, by the uri at which the run found it.

    ``reason`` says why the source is not drawn; ``tiles`` are JPEGs for the contact sheet.
    """

    uri: str
    status: Status
    reason: str | None = None
    tiles: tuple[bytes, ...] = ()


def draw_block(block: ImageBlock) -> list[Outcome]:
    """Draw the images of a block; the outcome of each says why it could not be drawn."""
    rows = {} if block.rows is None else {row.item_id: row for row in block.rows.read()}
    recovered = frozenset[int]() if block.rows is None else block.rows.recovered()
    draw = partial(_draw, rows=rows, recovered=recovered, style=block.style)
    if block.threads == 1:
        return [draw(work) for work in block.items]
    with ThreadPoolExecutor(block.threads) as pool:
        return list(pool.map(draw, block.items))


def chosen_boxes(row: Row, style: Style) -> DetectedBoxes:
    """Return the detections of a row that are drawn."""
    found = DetectedBoxes(boxes=row.boxes, scores=row.scores, category_ids=row.category_ids)
    return found.chosen(style.min_score, style.category_ids)


def tile_of(pixels: Pixels, found: DetectedBoxes, names: Mapping[int, str]) -> bytes:
    """Make a small JPEG of an image, with its detections drawn at the small size."""
    height, width = pixels.shape[:2]
    tile_height, tile_width = fitted((height, width), TILE_SHAPE)
    small = cv2.resize(pixels, (tile_width, tile_height), interpolation=cv2.INTER_AREA)
    scale = np.array([tile_width / width, tile_height / height] * 2, np.float32)
    found = replace(found, boxes=found.boxes * scale)
    draw_detections(cast("Pixels", small), found, names)
    return encode_jpeg(cast("Pixels", small))


def _draw(
    work: WorkItem, rows: Mapping[int, Row], recovered: frozenset[int], style: Style
) -> Outcome:
    item = work.item
    if item.item_id in recovered:  # a retry reads any version, and which one is not kept
        item = without_version(item)
    row = rows.get(item.item_id)
    if row is None:
        return Outcome(
            uri=item.uri,
            status="not_detected",
            reason=f"{item.uri}: the run has no row of this image",
        )
    if row.status != "ok":
        return Outcome(uri=item.uri, status="quarantined", reason=row.error)
    try:
        data = (
            read_item_bytes(item)
            if style.image_root is None
            else image_reader(style.image_root)(row)
        )
    except (DataError, StorageError) as error:
        status = "changed" if source_exists(item.uri) else "missing"
        return Outcome(uri=item.uri, status=status, reason=str(error))
    try:
        pixels = _decode_unchanged(data, item, row)
    except ImageError as error:
        return Outcome(uri=item.uri, status="changed", reason=str(error))
    found = chosen_boxes(row, style)
    tiles = (tile_of(pixels, found, style.names),) if work.wants_tile else ()
    canvas, found = enlarged(pixels, found)
    draw_detections(canvas, found, style.names)
    storage_for(work.out).write(work.out, encode_jpeg(canvas))
    return Outcome(uri=item.uri, status="drawn", tiles=tiles)


def _decode_unchanged(data: bytes, item: ManifestItem, row: Row) -> Pixels:
    if item.size_bytes is not None and len(data) != item.size_bytes:
        raise ImageError(f"{item.uri}: has {len(data)} bytes, had {item.size_bytes}")
    pixels = decode_image(data, place=item.uri, max_pixels=_MAX_PIXELS)
    if pixels.shape[:2] != (row.height, row.width):
        height, width = pixels.shape[:2]
        raise ImageError(f"{item.uri}: is {width} x {height}, was {row.width} x {row.height}")
    return pixels
