"""Which detections are right, which are wrong and which count for nothing.

:class:`Matches` has outcomes only for the few detections that overlap a box; here every detection
has one, for objects of any size: the first area range. Letters: ``D`` detections.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from fcos_core.metrics.coco import AP50_IOU, NOTHING, CategoryMatches, Matches, Settings

ANY_SIZE = 0  # index of the area range


@dataclass(frozen=True)
class Outcomes:
    """The outcome of each detection; one that is neither true nor ignored is a false positive.

    ``is_true``: it finds a box to find; ``is_ignored``: it counts for nothing.
    """

    is_true: Bool[np.ndarray, " D"]
    is_ignored: Bool[np.ndarray, " D"]


def outcomes(matches: Matches | CategoryMatches, settings: Settings) -> Outcomes:
    """The outcomes of a block's or one category's detections at IoU 0.5."""
    t = settings.iou_thresholds.index(AP50_IOU)
    finds = (
        matches.found[:, t, ANY_SIZE] != NOTHING
        if isinstance(matches, Matches)
        else matches.is_found[:, t, ANY_SIZE]
    )
    is_ignored = matches.is_outside[:, ANY_SIZE].copy()
    is_ignored[matches.hits] = matches.is_ignored[:, t, ANY_SIZE]
    is_true = np.zeros(len(is_ignored), np.bool_)
    is_true[matches.hits] = finds
    return Outcomes(is_true & ~is_ignored, is_ignored)
