"""What one block of images contributes to the score of a dataset."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from fcos_core.metrics.coco import PackedMatches, Settings, match, pack
from jobs.scoring.blocks import RunPart, ScoringBlock, read_found
from jobs.tables.json_columns import Int64Array


@dataclass(frozen=True)
class BlockScores:
    """Counts that add up and matches that are put together, small enough to be sent.

    Attributes:
        matches: of the block's detections.
        num_objects: boxes that are no crowds, by category id.
        num_crowds: crowd regions.
        num_detections: by category id, of categories nobody annotates too.
        num_size_mismatches: pictures with another size than their annotation says.
    """

    matches: PackedMatches
    num_objects: Counter[int]
    num_crowds: int
    num_detections: Counter[int]
    num_size_mismatches: int


def measure_block(
    block: ScoringBlock,
    *,
    category_ids: Int64Array,
    image_ids: Int64Array,
    settings: Settings,
) -> BlockScores:
    """Match a block's detections to its ground truth.

    Args:
        block: some images.
        category_ids: rising.
        image_ids: of all blocks, rising.
        settings: thresholds and ranges.
    """
    found, num_size_mismatches = (
        read_found(block.found) if isinstance(block.found, RunPart) else (block.found, 0)
    )
    truth = block.truth
    return BlockScores(
        matches=pack(match(truth, found, category_ids, settings, image_ids=image_ids)),
        num_objects=_count(truth.category_ids[~truth.is_crowd]),
        num_crowds=int(truth.is_crowd.sum()),
        num_detections=_count(found.category_ids),
        num_size_mismatches=num_size_mismatches,
    )


def _count(values: Int64Array) -> Counter[int]:
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
