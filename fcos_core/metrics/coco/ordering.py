"""The order of detections with equal scores, within an image and between images.

COCO's numbers depend on that order, and COCO leaves it to the order of the results file. A run's
detections are first put into ``CANONICAL_ORDER``, which depends on their content alone; a results
file keeps its own order. All later sorts are stable: ``match`` within an image and category,
:func:`rank_by_score` between images by rising image id. Letters: ``D`` detections, ``H`` those that
overlap a box.
"""

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.coco.structures import DetectedBoxes

CANONICAL_ORDER = "image_id, -score, category_id, box"


def canonical_order(detections: DetectedBoxes) -> Int64[np.ndarray, "D"]:
    """Indices that put detections, given in any order, into ``CANONICAL_ORDER``."""
    x, y, width, height = detections.boxes.T
    # np.lexsort takes its most important key last.
    keys = (height, width, y, x, detections.category_ids, -detections.scores, detections.image_ids)
    return np.lexsort(keys)


def rank_by_score(
    scores: Float64[np.ndarray, " D"], hits: Int64[np.ndarray, " H"]
) -> tuple[Int64[np.ndarray, " D"], Int64[np.ndarray, " D"], Int64[np.ndarray, " H"]]:
    """Rank detections of one category, given image by image, by falling score.

    Returns:
        The detections by rank, the rank of each detection, and the hits (indices into ``hits``) by
        rank. The sort is stable, as pycocotools' is: equal scores stay image by image.
    """
    order = np.argsort(-scores, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return order, rank, np.argsort(rank[hits])
