# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""COCO's twelve numbers, by pycocotools itself, from arrays in memory.

One category is matched at a time, on the images that have something of it: pycocotools makes every
match and every curve within one category, so the numbers are its own, bit for bit, and its memory
is that of the largest category instead of categories times images. Shapes: ``G`` ground-truth
boxes, ``D`` detections, ``T R K A M`` the axes of pycocotools' curves (IoU thresholds, recalls,
categories, area ranges, detection limits).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pycocotools import cocoeval
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

METRIC_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
MAX_DETECTIONS = (1, 10, 100)
CANONICAL_ORDER = "image_id, -score, category_id, box"


@dataclass(frozen=True)
class TrueBoxes:
    """Ground truth; boxes are ``x, y, width, height`` in pixels of the original image."""

    image_ids: Int64[np.ndarray, "G"]
    category_ids: Int64[np.ndarray, "G"]
    boxes: Float64[np.ndarray, "G 4"]
    areas: Float64[np.ndarray, "G"]
    is_crowd: Bool[np.ndarray, "G"]


@dataclass(frozen=True)
class DetectedBoxes:
    """Detections; boxes as in ``TrueBoxes``. Of equal scores, the first given ranks first."""

    image_ids: Int64[np.ndarray, "D"]
    category_ids: Int64[np.ndarray, "D"]
    boxes: Float64[np.ndarray, "D 4"]
    scores: Float64[np.ndarray, "D"]


@dataclass(frozen=True)
class CocoMetrics:
    """The twelve numbers by ``METRIC_NAMES``, in 0..1, and -1 where COCO leaves them undefined."""

    overall: dict[str, float]
    per_category: dict[int, dict[str, float]]


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


def evaluate_boxes(
    true_boxes: TrueBoxes, detections: DetectedBoxes, *, category_ids: Sequence[int]
) -> CocoMetrics:
    """Score detections against ground truth as COCO does.

    Every image that either side names is scored; an image that neither names changes nothing.

    Args:
        true_boxes: ground truth; crowds are regions where detections do not count.
        detections: in the order that decides between equal scores within an image.
        category_ids: the categories that are scored, each once; others are passed over.

    Returns:
        The twelve numbers over all categories and for each.
    """
    ordered = sorted(category_ids)
    true_rows = _rows_by_category(true_boxes.category_ids)
    detected_rows = _rows_by_category(detections.category_ids)
    curves = _Curves.undefined(len(ordered))
    for k, category_id in enumerate(ordered):
        if category_id not in true_rows:
            continue  # without ground truth pycocotools leaves the category undefined
        truth = _truth_records(true_boxes, true_rows[category_id])
        found = _detection_records(
            detections, detected_rows.get(category_id, np.empty(0, np.int64))
        )
        curves.put(k, _evaluate_category(truth, found, category_id))
    return CocoMetrics(
        overall=curves.summary(),
        per_category={id_: curves.only(k).summary() for k, id_ in enumerate(ordered)},
    )


def _discard(*_: object, **__: object) -> None:
    """Stand in for ``print``."""


def _silent(method: Callable[..., Any]) -> Callable[..., Any]:
    """Copy a method of pycocotools with its own ``print``.

    Redirecting ``sys.stdout`` would silence every other thread of the process as well.
    """
    function = cast("FunctionType", method)
    copy = FunctionType(
        function.__code__,
        {**vars(cocoeval), "print": _discard},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return cast("Callable[..., Any]", copy)


class _SilentCOCOeval(COCOeval):
    """pycocotools' evaluation, unchanged except that it does not print."""

    evaluate = _silent(COCOeval.evaluate)
    accumulate = _silent(COCOeval.accumulate)
    summarize = _silent(COCOeval.summarize)


@dataclass(frozen=True)
class _Curves:
    precision: Float64[np.ndarray, "T R K A M"]
    recall: Float64[np.ndarray, "T K A M"]

    @classmethod
    def undefined(cls, num_categories: int) -> "_Curves":
        params = cocoeval.Params(iouType="bbox")
        t, r = len(params.iouThrs), len(params.recThrs)
        a, m = len(params.areaRng), len(params.maxDets)
        return cls(-np.ones((t, r, num_categories, a, m)), -np.ones((t, num_categories, a, m)))

    def put(self, k: int, one: "_Curves") -> None:
        self.precision[:, :, k] = one.precision[:, :, 0]
        self.recall[:, k] = one.recall[:, 0]

    def only(self, k: int) -> "_Curves":
        return _Curves(self.precision[:, :, [k]], self.recall[:, [k]])

    def summary(self) -> dict[str, float]:
        evaluation = _new_evaluation()
        evaluation.eval = {"precision": self.precision, "recall": self.recall}
        evaluation.summarize()
        return dict(zip(METRIC_NAMES, map(float, evaluation.stats), strict=True))


def _new_evaluation() -> Any:  # noqa: ANN401 - the stubs ask for whole files where a part is enough
    evaluation = _SilentCOCOeval(iouType="bbox")
    evaluation.params.maxDets = list(MAX_DETECTIONS)
    return evaluation


def _evaluate_category(
    truth: list[dict[str, Any]], found: list[dict[str, Any]], category_id: int
) -> _Curves:
    evaluation = _new_evaluation()
    evaluation.params.imgIds = sorted({record["image_id"] for record in (*truth, *found)})
    evaluation.params.catIds = [category_id]
    evaluation.cocoGt = _indexed(truth)
    evaluation.cocoDt = _indexed(found)
    evaluation.evaluate()
    evaluation.accumulate()
    return _Curves(evaluation.eval["precision"], evaluation.eval["recall"])


def _indexed(records: list[dict[str, Any]]) -> COCO:
    """What ``COCO.createIndex`` makes of a dataset, without its printing."""
    index = cast("Any", COCO())
    index.anns = {record["id"]: record for record in records}
    by_image: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        by_image[record["image_id"]].append(record)
    index.imgToAnns = by_image
    return index


def _truth_records(true_boxes: TrueBoxes, rows: Int64[np.ndarray, "_"]) -> list[dict[str, Any]]:
    columns = {
        # Ids start at 1: pycocotools stores 0 for "matched nothing", and files use 0 as an id.
        "id": range(1, len(rows) + 1),
        "image_id": true_boxes.image_ids[rows].tolist(),
        "category_id": true_boxes.category_ids[rows].tolist(),
        "bbox": true_boxes.boxes[rows].tolist(),
        "area": true_boxes.areas[rows].tolist(),
        "iscrowd": true_boxes.is_crowd[rows].astype(int).tolist(),
    }
    return _records(columns)


def _detection_records(
    detections: DetectedBoxes, rows: Int64[np.ndarray, "_"]
) -> list[dict[str, Any]]:
    boxes = detections.boxes[rows]
    columns = {
        "id": range(1, len(rows) + 1),
        "image_id": detections.image_ids[rows].tolist(),
        "category_id": detections.category_ids[rows].tolist(),
        "bbox": boxes.tolist(),
        "area": (boxes[:, 2] * boxes[:, 3]).tolist(),
        "score": detections.scores[rows].tolist(),
    }
    return _records(columns)


def _records(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _rows_by_category(category_ids: Int64[np.ndarray, "_"]) -> dict[int, Int64[np.ndarray, "_"]]:
    """Which rows each category has, every list in the given order."""
    order = np.argsort(category_ids, kind="stable")
    found, counts = np.unique(category_ids, return_counts=True)
    ends = np.cumsum(counts)
    return {
        category_id: order[end - count : end]
        for category_id, count, end in zip(found.tolist(), counts, ends, strict=True)
    }
