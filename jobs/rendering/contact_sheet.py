"""A grid of sample images that shows a run's drawings at a glance."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Sequence
from typing import cast

import cv2
import numpy as np

from jobs.media.drawing.colors import MUTED, PAPER, Pixels
from jobs.media.drawing.text import TextStyle, draw_text, shortened
from jobs.rendering.images import TILE_SHAPE

NUM_TILES = 24
_MOST_COLUMNS = 6
_ASPECT = 1.3  # columns by rows
_CANDIDATES = 2 * NUM_TILES  # some may be missing
_GAP_PX, _MARGIN_PX = 12, 16
_STYLE = TextStyle(size_px=14, color=MUTED)
_CELL_SHAPE = (TILE_SHAPE[0] + _STYLE.line_px, TILE_SHAPE[1])


def candidates(uris: Iterable[str]) -> dict[str, int]:
    """Choose the sources that may be shown, and rank them, by a hash of their uris.

    The choice is as good as random, and the same for every process and call.
    """
    chosen = heapq.nsmallest(_CANDIDATES, uris, key=_hash)
    return {uri: rank for rank, uri in enumerate(chosen)}


def contact_sheet(tiles: Sequence[tuple[str, bytes]]) -> Pixels:
    """Lay out tiles (caption and JPEG), at least one, in a grid of about the shape of a page."""
    num_columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(_ASPECT * len(tiles))), len(tiles))
    num_rows = math.ceil(len(tiles) / num_columns)
    step_y, step_x = _CELL_SHAPE[0] + _GAP_PX, _CELL_SHAPE[1] + _GAP_PX
    margins_px = 2 * _MARGIN_PX - _GAP_PX
    sheet = _blank(num_rows * step_y + margins_px, num_columns * step_x + margins_px)
    for i, (caption, jpeg) in enumerate(tiles):
        row, column = divmod(i, num_columns)
        _paste(sheet, _cell(caption, jpeg), _MARGIN_PX + row * step_y, _MARGIN_PX + column * step_x)
    return sheet


def _cell(caption: str, jpeg: bytes) -> Pixels:
    height, width = TILE_SHAPE
    cell = _blank(*_CELL_SHAPE)
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    tile = cast("Pixels", decoded)
    _paste(cell, tile, (height - tile.shape[0]) // 2, (width - tile.shape[1]) // 2)
    draw_text(cell, shortened(caption, _STYLE, width), 0, height, _STYLE)
    return cell


def _blank(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), PAPER, np.uint8)


def _paste(canvas: Pixels, block: Pixels, y: int, x: int) -> None:
    canvas[y : y + block.shape[0], x : x + block.shape[1]] = block


def _hash(uri: str) -> bytes:
    return hashlib.sha256(uri.encode(errors="surrogatepass")).digest()
