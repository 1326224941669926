"""pycocotools as the judge: our columns from its records, its arrays, and whether bits differ."""

import contextlib
import io
import json
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fcos_core.metrics.coco import (
    METRIC_NAMES,
    Curves,
    DetectedBoxes,
    Settings,
    TrueBoxes,
    accumulate,
    match,
    pack,
    summarize,
    unpacked,
)

Record = dict[str, Any]


def true_boxes(annotations: list[Record]) -> TrueBoxes:
    return TrueBoxes(
        image_ids=np.array([a["image_id"] for a in annotations], np.int64),
        category_ids=np.array([a["category_id"] for a in annotations], np.int64),
        boxes=np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4),
        areas=np.array([a["area"] for a in annotations], np.float64),
        is_crowd=np.array([a["iscrowd"] for a in annotations], np.bool_),
    )


def detected_boxes(results: list[Record]) -> DetectedBoxes:
    return DetectedBoxes(
        image_ids=np.array([r["image_id"] for r in results], np.int64),
        category_ids=np.array([r["category_id"] for r in results], np.int64),
        boxes=np.array([r["bbox"] for r in results], np.float64).reshape(-1, 4),
        scores=np.array([r["score"] for r in results], np.float64),
    )


def plain_pycocotools(dataset: Record, results: list[Record]) -> COCOeval:
    """Score as pycocotools does, with annotation ids counted from 1, since 0 is "none" to it."""
    truth, found = COCO(), COCO()
    truth.dataset = json.loads(json.dumps(dataset))
    for number, annotation in enumerate(truth.dataset["annotations"], 1):
        annotation["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        if results:
            found = truth.loadRes(json.loads(json.dumps(results)))
        else:  # which its own loading refuses
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def in_blocks(truth: TrueBoxes, found: DetectedBoxes, category_ids, image_ids, blocks) -> Curves:
    """Evaluate as a cluster does: every block alone, packed, then category by category."""
    packed = [
        pack(
            match(
                only(truth, np.isin(truth.image_ids, block)),
                only(found, np.isin(found.image_ids, block)),
                category_ids,
                Settings(),
                image_ids=image_ids,
            )
        )
        for block in blocks
    ]
    return accumulate(unpacked(packed), len(category_ids), Settings())


def only(columns, chosen):
    return type(columns)(*(getattr(columns, name)[chosen] for name in columns.__dataclass_fields__))


def differing(curves: Curves, judge: COCOeval) -> list[str]:
    """Names of what has other bits than pycocotools', or holds a NaN."""
    numbers = summarize(curves, Settings())
    pairs = {
        "precision": (curves.precision, judge.eval["precision"]),
        "recall": (curves.recall, judge.eval["recall"]),
        "scores": (curves.scores, judge.eval["scores"]),
        "numbers": (np.array([numbers[name] for name in METRIC_NAMES]), judge.stats),
    }
    return [name for name, (ours, theirs) in pairs.items() if not _is_same(ours, theirs)]


def _is_same(ours, theirs) -> bool:
    same_shape = ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return same_shape and ours.tobytes() == theirs.tobytes() and not np.isnan(ours).any()
