"""What one block of images contributes to the score of a dataset."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from fcos_core.metrics.bootstrap.ranking import BoxesToFind, boxes_to_find
from fcos_core.metrics.bpr import Rule
from fcos_core.metrics.coco import PackedMatches, Settings, match, pack
from jobs.annotations.json_columns import Int64Array
from jobs.scoring.blocks import ScoringBlock, read_found
from jobs.scoring.explaining import BlockExplanation, explain_block


@dataclass(frozen=True)
class BlockScores:
    """Counts to add and matches to join, small enough to be sent.

    Objects and detections are counted by category id, detections of categories without annotations
    as well. A size mismatch is an image with another size than its annotation says.
    """

    matches: PackedMatches
    num_objects: Counter[int]
    num_crowds: int
    num_detections: Counter[int]
    num_size_mismatches: int
    to_find: BoxesToFind
    explanation: BlockExplanation


def measure_block(
    block: ScoringBlock,
    *,
    category_ids: Int64Array,
    image_ids: Int64Array,
    rule: Rule | None,
    settings: Settings,
) -> BlockScores:
    """Match a block's detections to its ground truth.

    Category ids and image ids, those of all blocks, are rising; the rule says which boxes are
    assignable in training, None leaves that open.
    """
    read = read_found(block)
    found, truth = read.boxes, block.truth
    matches = match(truth, found, category_ids, settings, image_ids=image_ids)
    return BlockScores(
        matches=pack(matches),
        num_objects=_count(truth.category_ids[~truth.is_crowd]),
        num_crowds=int(truth.is_crowd.sum()),
        num_detections=_count(found.category_ids),
        num_size_mismatches=read.num_size_mismatches,
        to_find=boxes_to_find(truth, image_ids, category_ids, settings),
        explanation=explain_block(
            truth,
            found,
            matches,
            category_ids=category_ids,
            image_ids=block.image_ids,
            image_sizes=read.image_sizes,
            rule=rule,
            settings=settings,
        ),
    )


def _count(values: Int64Array) -> Counter[int]:
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
