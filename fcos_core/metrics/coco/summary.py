"""COCO's twelve numbers from its curves, with pycocotools' own means."""

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.coco.accumulation import UNDEFINED, Curves
from fcos_core.metrics.coco.structures import AP50_IOU, AP75_IOU, AREA_NAMES, METRIC_NAMES, Settings


def summarize(curves: Curves, settings: Settings) -> dict[str, float]:
    """Average the curves: the numbers by ``METRIC_NAMES``, in 0..1, and -1 where undefined."""
    first, second, largest = range(len(settings.max_detections))
    precision, recall = curves.precision, curves.recall
    thresholds = np.array(settings.iou_thresholds)

    def at(iou: float) -> Float64[np.ndarray, "..."]:
        return precision[np.flatnonzero(thresholds == iou)][:, :, :, 0, largest]

    numbers = (
        mean_of_defined(precision[:, :, :, 0, largest]),
        mean_of_defined(at(AP50_IOU)),
        mean_of_defined(at(AP75_IOU)),
        *(mean_of_defined(precision[:, :, :, area, largest]) for area in range(1, len(AREA_NAMES))),
        *(mean_of_defined(recall[:, :, 0, limit]) for limit in (first, second, largest)),
        *(mean_of_defined(recall[:, :, area, largest]) for area in range(1, len(AREA_NAMES))),
    )
    return dict(zip(METRIC_NAMES, numbers, strict=True))


def mean_of_defined(values: Float64[np.ndarray, "..."]) -> float:
    """Mean of the defined values, as pycocotools computes it; ``UNDEFINED`` if there are none."""
    defined = values[values > UNDEFINED]
    return float(np.mean(defined)) if len(defined) else UNDEFINED


def shares(
    parts: Float64[np.ndarray, " N"] | Int64[np.ndarray, " N"], wholes: Int64[np.ndarray, " N"]
) -> Float64[np.ndarray, " N"]:
    """Parts divided by wholes; ``UNDEFINED`` where the whole is 0."""
    return np.divide(parts, wholes, out=np.full(len(parts), UNDEFINED), where=wholes > 0)
