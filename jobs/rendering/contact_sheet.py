"""A grid of samples: what a run's drawings look like, at a glance."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Sequence
from typing import cast

import cv2
import numpy as np

from jobs.media.drawing.colors import MUTED, Pixels
from jobs.media.drawing.text import TextStyle, draw_text, shortened
from jobs.rendering.images import TILE_SHAPE
from jobs.rendering.targets.layout import beside, blank, framed, stacked

NUM_TILES = 24
_MOST_COLUMNS = 6
_ASPECT = 1.3  # columns by rows
_CANDIDATES = 2 * NUM_TILES  # some may be missing
_GAP_PX, _MARGIN_PX = 12, 16
_STYLE = TextStyle(size_px=14, color=MUTED)


def candidates(uris: Iterable[str]) -> dict[str, int]:
    """Choose sources by a hash of their uris: as good as by chance, and the same again.

    Returns:
        The rank of each that may be shown.
    """
    chosen = heapq.nsmallest(_CANDIDATES, uris, key=_hash)
    return {uri: rank for rank, uri in enumerate(chosen)}


def contact_sheet(tiles: Sequence[tuple[str, bytes]]) -> Pixels:
    """Lay out tiles in a grid of about the shape of a page.

    Args:
        tiles: what is written below each, and its JPEG; at least one.
    """
    num_columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(_ASPECT * len(tiles))))
    cells = [_cell(name, jpeg) for name, jpeg in tiles]
    rows = [
        beside(cells[start : start + num_columns], _GAP_PX)
        for start in range(0, len(cells), num_columns)
    ]
    return framed(stacked(rows, _GAP_PX), _MARGIN_PX)


def _cell(name: str, jpeg: bytes) -> Pixels:
    height, width = TILE_SHAPE
    cell = blank(height + _STYLE.line_px, width)
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    tile = cast("Pixels", decoded)
    y, x = (height - tile.shape[0]) // 2, (width - tile.shape[1]) // 2
    cell[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    draw_text(cell, shortened(name, _STYLE, width), 0, height, _STYLE)
    return cell


def _hash(uri: str) -> bytes:
    return hashlib.sha256(uri.encode(errors="surrogatepass")).digest()
