"""Which detections are right, which are wrong and which count for nothing, one for each.

:class:`Matches` says it for the few detections that overlap a box; what explains the numbers asks
it of all. Objects of any size: the first area range. Letters: ``D`` detections.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from fcos_core.metrics.coco import AP50_IOU, NOTHING, CategoryMatches, Matches, Settings

ANY_SIZE = 0  # index of the area range


@dataclass(frozen=True)
class Outcomes:
    """What outcome of each detection; one that is neither is a false positive.

    Args:
        is_true: whether it finds a box that is to be found.
        is_ignored: whether it counts for nothing.
    """

    is_true: Bool[np.ndarray, " D"]
    is_ignored: Bool[np.ndarray, " D"]


def outcomes(
    matches: Matches | CategoryMatches, settings: Settings, iou: float = AP50_IOU
) -> Outcomes:
    """Say what outcome of each detection.

    Args:
        matches: of a block, or of one category.
        settings: that they were matched under.
        iou: one of the thresholds.
    """
    t = settings.iou_thresholds.index(iou)
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
