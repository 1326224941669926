"""Images of a run with their detections drawn on: one block of them at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import cv2
import numpy as np
import numpy.typing as npt

from fcos_core.errors import DataError, ImageError, StorageError
from jobs.inputs.item_bytes import read_item_bytes, source_exists
from jobs.inputs.relocated import image_reader
from jobs.media.drawing.colors import Pixels
from jobs.media.drawing.detections import Found, draw_found, enlarged
from jobs.media.drawing.view import fitted
from jobs.media.image.decode import decode_image
from jobs.rendering.shard_rows import ShardRows, found_in
from jobs.rundir.rows import ManifestItem, Row
from jobs.storage import storage_for

Fate = Literal["drawn", "missing", "changed", "quarantined", "not_detected", "failed"]
"""What became of a source; ``not_detected``: the run has no row of it (yet); ``failed``: whoever
draws it dies."""

TILE_SHAPE = (240, 320)
"""Height and width that an image of the contact sheet fits into."""

_QUALITY = 92
_MAX_PIXELS = 2**31 - 1  # the run has looked at it under a limit of its own


@dataclass(frozen=True, kw_only=True)
class Look:
    """How detections are drawn, and which.

    Attributes:
        min_score: from which on.
        category_ids: of these categories; None for all.
        names: of all categories, by id.
        image_root: folder that the sources lie in now; None for where the run found them.
    """

    min_score: float
    category_ids: frozenset[int] | None
    names: Mapping[int, str]
    image_root: str | None


@dataclass(frozen=True, kw_only=True)
class Order:
    """One image to draw.

    Attributes:
        item: of the manifest.
        out: uri of the drawing.
        wants_tile: whether it may be shown on the contact sheet.
    """

    item: ManifestItem
    out: str
    wants_tile: bool


@dataclass(frozen=True, kw_only=True)
class ImageBlock:
    """Some images of one shard.

    Attributes:
        rows: where their detections are; None when the shard is not committed.
        orders: the images.
        look: of the drawings.
        threads: images drawn at once; as many are in memory.
    """

    rows: ShardRows | None
    orders: Sequence[Order]
    look: Look
    threads: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one source.

    Attributes:
        uri: of the source.
        fate: in a word.
        reason: why it is not drawn; None when it is.
        tiles: JPEGs for the contact sheet, when they were wanted.
    """

    uri: str
    fate: Fate
    reason: str | None = None
    tiles: tuple[bytes, ...] = ()


def draw_block(block: ImageBlock) -> list[Outcome]:
    """Draw some images; one that cannot be drawn says why."""
    rows = {} if block.rows is None else {row.item_id: row for row in block.rows.read()}
    draw = partial(_draw, rows=rows, look=block.look)
    if block.threads == 1:
        return [draw(order) for order in block.orders]
    with ThreadPoolExecutor(block.threads) as pool:
        return list(pool.map(draw, block.orders))


def tile_of(pixels: Pixels, found: Found, names: Mapping[int, str]) -> bytes:
    """Make a small JPEG of an image, with letters drawn at that size."""
    height, width = pixels.shape[:2]
    tile_height, tile_width = fitted((height, width), TILE_SHAPE)
    small = cv2.resize(pixels, (tile_width, tile_height), interpolation=cv2.INTER_AREA)
    scale = np.array([tile_width / width, tile_height / height] * 2, np.float32)
    found = Found(boxes=found.boxes * scale, scores=found.scores, category_ids=found.category_ids)
    draw_found(cast("Pixels", small), found, names)
    return encoded(cast("Pixels", small))


def encoded(pixels: Pixels) -> bytes:
    """Write a JPEG."""
    blue_first = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return cast("npt.NDArray[np.uint8]", data).tobytes()


def _draw(order: Order, rows: Mapping[int, Row], look: Look) -> Outcome:
    item = order.item
    row = rows.get(item.item_id)
    if row is None:
        return Outcome(
            uri=item.uri, fate="not_detected", reason=f"{item.uri}: the run has no row of it"
        )
    if row.status != "ok":
        return Outcome(uri=item.uri, fate="quarantined", reason=row.error)
    try:
        is_in_place = look.image_root is None
        data = read_item_bytes(item) if is_in_place else image_reader(look.image_root)(row)
    except (DataError, StorageError) as error:
        fate = "changed" if source_exists(item.uri) else "missing"
        return Outcome(uri=item.uri, fate=fate, reason=str(error))
    try:
        pixels = _decode_unchanged(data, item, row)
    except ImageError as error:
        return Outcome(uri=item.uri, fate="changed", reason=str(error))
    found = found_in(row, look.min_score, look.category_ids)
    tiles = (tile_of(pixels, found, look.names),) if order.wants_tile else ()
    canvas, found = enlarged(pixels, found)
    draw_found(canvas, found, look.names)
    storage_for(order.out).write(order.out, encoded(canvas))
    return Outcome(uri=item.uri, fate="drawn", tiles=tiles)


def _decode_unchanged(data: bytes, item: ManifestItem, row: Row) -> Pixels:
    """Decode an image that the run has decoded before.

    Raises:
        ImageError: it is no longer what it was.
    """
    if item.size_bytes is not None and len(data) != item.size_bytes:
        raise ImageError(f"{item.uri}: has {len(data)} bytes, had {item.size_bytes}")
    pixels = decode_image(data, place=item.uri, max_pixels=_MAX_PIXELS)
    if pixels.shape[:2] != (row.height, row.width):
        height, width = pixels.shape[:2]
        raise ImageError(f"{item.uri}: is {width} x {height}, was {row.width} x {row.height}")
    return pixels
