"""How AP's ties are ordered: detections of equal score, within an image and between images.

COCO's numbers depend on that order, and COCO leaves it to the order of the results file. A run's
detections are put into ``CANONICAL_ORDER`` first, which depends on their content alone; a results
file keeps its own. Everything behind sorts stably: ``match`` within an image and category,
:func:`rank_by_score` between images by rising image id. Letters: ``D`` detections, ``H`` those that
overlap a box.
"""

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.coco.structures import DetectedBoxes

CANONICAL_ORDER = "image_id, -score, category_id, box"


def canonical_order(detections: DetectedBoxes) -> Int64[np.ndarray, "D"]:
    """Order detections by content alone, so that no tie depends on how they were computed.

    Args:
        detections: in any order.

    Returns:
        Indices that put them into ``CANONICAL_ORDER``.
    """
    x, y, width, height = detections.boxes.T
    # np.lexsort takes its most important key last.
    keys = (height, width, y, x, detections.category_ids, -detections.scores, detections.image_ids)
    return np.lexsort(keys)


def rank_by_score(
    scores: Float64[np.ndarray, " D"], hits: Int64[np.ndarray, " H"]
) -> tuple[Int64[np.ndarray, " D"], Int64[np.ndarray, " D"], Int64[np.ndarray, " H"]]:
    """Rank detections of one category by falling score.

    Args:
        scores: scores, image by image.
        hits: indices into ``scores``, rising.

    Returns:
        The detections by rank, the rank of each detection, and the hits (indices into ``hits``) by
        rank. The sort is stable, as pycocotools' is: equal scores stay image by image.
    """
    order = np.argsort(-scores, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return order, rank, np.argsort(rank[hits])
