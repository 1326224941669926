"""Pages made of blocks: each block an image, put below or beside others on white paper."""

from collections.abc import Sequence

import numpy as np

from jobs.media.drawing.colors import PAPER, Color, Pixels


def blank(height: int, width: int, color: Color = PAPER) -> Pixels:
    """An empty block."""
    return np.full((height, width, 3), color, np.uint8)


def stacked(blocks: Sequence[Pixels], gap_px: int) -> Pixels:
    """Blocks below each other, flush left."""
    height = sum(block.shape[0] for block in blocks) + gap_px * (len(blocks) - 1)
    page = blank(height, max(block.shape[1] for block in blocks))
    y = 0
    for block in blocks:
        page[y : y + block.shape[0], : block.shape[1]] = block
        y += block.shape[0] + gap_px
    return page


def beside(blocks: Sequence[Pixels], gap_px: int) -> Pixels:
    """Blocks from left to right, their upper sides in line."""
    width = sum(block.shape[1] for block in blocks) + gap_px * (len(blocks) - 1)
    page = blank(max(block.shape[0] for block in blocks), width)
    x = 0
    for block in blocks:
        page[: block.shape[0], x : x + block.shape[1]] = block
        x += block.shape[1] + gap_px
    return page


def framed(block: Pixels, margin_px: int) -> Pixels:
    """A block with paper around it."""
    height, width = block.shape[:2]
    page = blank(height + 2 * margin_px, width + 2 * margin_px)
    page[margin_px : margin_px + height, margin_px : margin_px + width] = block
    return page
